// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sends on unix stream sockets, as the kernel sees them.
 *
 * One program, three ways to attach, chosen by -D:
 *   MODE_FENTRY  fentry and fexit of unix_stream_sendmsg and unix_release
 *   MODE_KPROBE  kprobe and kretprobe of the same functions
 *   MODE_RAWTP   raw tracepoints sys_enter and sys_exit: sendmsg, sendmmsg, sendto, write, writev, close
 * and in all of them the raw tracepoint sched_process_exit. With COUNT_EVENTFDS it also counts kicks and calls
 * (eventfds.h); with STACK_LIMIT it hands over call stacks (stacks.h).
 *
 * No kernel header is read: O_* are offsets and T_* enumeration values of the running kernel (vusniff/bpf/offsets.py),
 * SIZE_* are the record sizes that the reader expects (vusniff/bpf/records.py).
 *
 * A send is reported at entry with its bytes, because then they can be read and no answer can be ahead of its question.
 * At return it is reported again only when the kernel did not take all of it: silence means success. Who changes the
 * bytes between entry and the kernel's own copy deceives us (SECURITY.md: why that is not looked for). The bounds are
 * written for the verifier: a 64-bit value, an empty asm that hides it from the compiler, then the comparison, right
 * before its use. Otherwise clang compares a copy.
 */
#include <linux/types.h>

#include "records.h"
#include "kernel.h"

BPF_RINGBUF_OUTPUT(ring, RING_PAGES);
BPF_ARRAY(lost, u64, LOST_REASONS);
BPF_ARRAY(control, u64, CONTROLS);
BPF_TABLE("array", u32, struct scratch, scratches, CPUS);
BPF_TABLE("array", u32, struct passed, passed_scratches, CPUS);
BPF_TABLE("array", u32, struct opened, opened_scratches, CPUS);
/* The one look-up that a send costs, and it is inlined. Readable and writable by the reader, which maps it. */
BPF_F_TABLE("array", u32, struct bucket, sockets, BUCKETS, MAPPABLE);
/* Decisions by inode: from user space, to which nothing else is known before a socket speaks, and on passed sockets. */
BPF_TABLE("hash", u64, u32, presets, 65536);
BPF_TABLE("array", u32, struct inflight, sending, THREADS);
/* Processes whose end is reported: those at the ends of sockets that are followed. */
BPF_TABLE("hash", u32, u8, peers, 8192);
#ifdef MODE_RAWTP
/* report_send below; what sees calls on vhost devices (calls.c) and their returns, where there are such devices. */
enum { REPORT_SEND, SEE_CALL, SEE_RETURN, STEPS };
BPF_PROG_ARRAY(steps, STEPS);
#endif
#ifdef STACK_LIMIT
#include "stacks.h"
#endif
#ifdef COUNT_EVENTFDS
#include "eventfds.h"
#endif

static __always_inline void add(u64 *value, u64 amount)
{
	if (value)
		__sync_fetch_and_add(value, amount);
}

static __always_inline void count_lost(u32 reason)
{
	add(lost.lookup(&reason), 1);
}

/*
 * Hands a record over; false when it is lost. Once more when it fails: since 6.15 the ring's lock may give up under
 * contention although there is room.
 */
static __always_inline int emit(void *record, u64 size)
{
	return !ring.ringbuf_output(record, size, NO_WAKEUP) || !ring.ringbuf_output(record, size, NO_WAKEUP);
}

/* The table is searched by inode number: no two sockets have the same at a time. */
static __always_inline struct bucket *bucket_of(u64 inode)
{
	u32 index = inode & (BUCKETS - 1);
	return sockets.lookup(&index);
}

static __always_inline int is_at(struct bucket *bucket, u32 way, u64 inode)
{
	return bucket->ways[way].word >> DECISION_BITS == inode;
}

static __always_inline struct entry *find(u64 inode)
{
	struct bucket *bucket = bucket_of(inode);
	u64 way = 0;
	if (!bucket)
		return 0;
	if (!is_at(bucket, 0, inode)) {
		way = is_at(bucket, 1, inode) ? 1 : is_at(bucket, 2, inode) ? 2 : 3;
		if (way == 3 && !is_at(bucket, 3, inode))
			return 0;
	}
	HIDE(way); /* so that the verifier goes on once, not once for each */
	return &bucket->ways[way & (WAYS - 1)];
}

static __always_inline u32 decision_of(struct entry *entry)
{
	return entry->word & ((1 << DECISION_BITS) - 1);
}

static __always_inline int is_followed(struct entry *entry)
{
	return entry && decision_of(entry) == FOLLOWED;
}

/*
 * Remembers a decision; false when there is no room. A followed socket is never evicted. Another socket may be evicted,
 * and is judged again when it next sends. Two sockets that share a bucket and send for the first time at the same moment
 * may evict each other, which is rare: one in BUCKETS of such moments.
 */
static __always_inline int remember(u64 inode, u32 decision)
{
	struct entry *entry = find(inode);
	if (!entry) {
		struct bucket *bucket = bucket_of(inode);
		u64 way = bpf_ktime_get_ns() >> 10;
		if (!bucket)
			return 0;
		for (u32 i = 0; i < WAYS && bucket->ways[way & (WAYS - 1)].word; i++)
			way++;
		for (u32 i = 0; i < WAYS && is_followed(&bucket->ways[way & (WAYS - 1)]); i++)
			way++;
		HIDE(way);
		entry = &bucket->ways[way & (WAYS - 1)];
		if (is_followed(entry))
			return 0;
	}
	if (decision == FOLLOWED && !is_followed(entry)) {
		u32 following = FOLLOWING;
		entry->sequence = entry->lost = entry->speaker = 0;
		add(control.lookup(&following), 1);
	}
	entry->word = inode << DECISION_BITS | decision;
	return 1;
}

static __always_inline void fill_head(struct head *head, u8 kind, struct socket_key *key, u64 id, u64 time)
{
	head->kind = kind;
	head->flags = 0;
	head->call = 0;
	head->tid = id;
	head->time = time;
	head->key = *key;
}

/* What does not depend on the data. */
static __always_inline void fill_sent(struct sent *sent, struct scratch *s)
{
	fill_head(&sent->head, SENT, &s->key, s->id, s->time);
	sent->head.call = s->call;
	sent->tgid = s->id >> 32;
	sent->sequence = s->sequence;
	sent->lost = s->lost;
	if (s->stacked)
		sent->head.flags = STACKED;
	if (s->named) {
		sent->head.flags |= NAMED;
		bpf_get_current_comm(sent->comm, 16);
	}
}

/* Of a short send the record has one size: then it is made in its place, which takes half as long. */
static __always_inline int emit_short(struct scratch *s)
{
	struct short_sent *record = ring.ringbuf_reserve(sizeof(struct short_sent));
	if (!record)
		record = ring.ringbuf_reserve(sizeof(struct short_sent));
	if (!record)
		return 0;
	fill_sent(&record->sent, s);
	record->sent.descriptors = s->sent.descriptors;
	record->sent.length = s->sent.length;
	record->sent.captured = s->sent.captured;
	record->sent.index = s->sent.index;
	__builtin_memcpy(record->data, s->data, SHORT);
	ring.ringbuf_submit(record, NO_WAKEUP);
	return 1;
}

static __always_inline int emit_long(struct scratch *s)
{
	u64 size = s->sent.captured;
	fill_sent(&s->sent, s);
	HIDE(size);
	size &= 2 * DATA_LIMIT - 1;
	return emit(&s->sent, sizeof(s->sent) + size);
}

/* Copies what the send hands over; sets captured and, where the caller could not know it, length. */
static __always_inline void copy_data(struct scratch *s)
{
	struct source *from = &s->from;
	u64 base = from->base, size = from->length;
	s->sent.captured = 0;
	s->sent.length = size;
	if (from->opaque)
		return;
	if (from->single || from->segments == 1) {
		if (!from->single) {
			u64 segment[2] = {};
			load(segment, 16, base, from->user);
			base = segment[0] + from->skip;
			s->sent.length = size = segment[1] - from->skip;
		}
		HIDE(size);
		if (size > DATA_LIMIT)
			size = DATA_LIMIT;
		if (!load(s->data, size, base, !from->kernel_data))
			s->sent.captured = size;
		return;
	}
	s->position = s->total = s->stopped = 0;
	for (u32 i = 0; i < SEGMENT_LIMIT; i++) {
		u64 segment[2] = {};
		HIDE(i);
		if (i >= from->segments || i >= SEGMENT_LIMIT)
			break;
		load(segment, 16, from->base + 16 * i, from->user);
		u64 skip = i ? 0 : from->skip;
		u64 at = s->position, size = segment[1] - skip;
		s->total += size;
		if (!size || s->stopped || at >= DATA_LIMIT)
			continue;
		HIDE(at);
		HIDE(size);
		at &= DATA_LIMIT - 1;
		if (size > DATA_LIMIT)
			size = DATA_LIMIT;
		/* A page that is not resident cannot be read here: what follows it is missing, never misplaced. */
		if (load(&s->data[at], size, segment[0] + skip, !from->kernel_data))
			s->stopped = 1;
		else
			s->position += size;
	}
	s->sent.captured = s->position > DATA_LIMIT ? DATA_LIMIT : s->position;
	if (!from->length)
		s->sent.length = s->total;
}

static __always_inline u32 number_at(struct scratch *s, u32 at, u32 size)
{
	return size == 2 ? *(u16 *)&s->data[at] : *(u32 *)&s->data[at];
}

/*
 * A header as a family's row describes it (vusniff/bpf/headers.py): a request that exists or may come, no unknown flag,
 * and a size that fits the send. All but the first are constants.
 */
static __always_inline int begins(struct scratch *s, u32 head, u32 request_at, u32 request_size, u32 last, u32 flags_at,
				  u32 allowed, u32 value, u32 size_at, u32 counted, u32 largest, u32 zero_at)
{
	u32 size = number_at(s, size_at, 4);
	if (s->sent.captured < head || number_at(s, request_at, request_size) - 1 >= last)
		return 0;
	if ((number_at(s, flags_at, 4) & ~allowed) != value || size < counted || size - counted > largest)
		return 0;
	if (zero_at && number_at(s, zero_at, 4))
		return 0;
	return s->sent.length == head || s->sent.length >= head - counted + (u64)size;
}

#define BEGINS(...) || begins(s, __VA_ARGS__)

static __always_inline int plausible(struct scratch *s)
{
	return 0 FAMILY_HEADERS(BEGINS);
}

/* A request, or the reply to it, that passes a socket which opens a channel. */
static __always_inline int opens(struct scratch *s, u32 request_at, u32 request_size, u32 request, u32 flags_at,
				 u32 reply, u32 value, u32 is_reply)
{
	return number_at(s, request_at, request_size) == request &&
	       ((number_at(s, flags_at, 4) & reply) == value) == is_reply;
}

#define OPENS(...) || opens(s, __VA_ARGS__)

/* Decides about a socket that has no final decision: whether it is followed. */
static __always_inline int judge(struct scratch *s)
{
	struct socket_key *key = &s->key, peer = key_of(load8(key->sock + O_UNIX_PEER));
	u32 decision = s->tries + 1 >= TRIES ? IGNORED : s->tries + 1, *known;
	if (is_followed(find(peer.inode))) {
		decision = FOLLOWED;
	} else if ((known = presets.lookup(&key->inode)) || (peer.inode && (known = presets.lookup(&peer.inode)))) {
		decision = *known;
#ifdef FOLLOW_ANY
	} else {
		decision = FOLLOWED;
#else
	} else if (plausible(s)) {
		decision = FOLLOWED;
#endif
	}
	if (remember(key->inode, decision))
		return decision == FOLLOWED;
	if (decision == FOLLOWED)
		count_lost(LOST_TABLE);
	return 0;
}

static __always_inline void note_peer(u32 tgid)
{
	u8 one = 1;
	if (tgid && !peers.lookup(&tgid))
		peers.update(&tgid, &one);
}

/* Who is at both ends: once per socket, and again if it did not reach the ring. */
static __always_inline void announce(struct entry *state, struct socket_key *key, u64 id, u64 time)
{
	u32 cpu = bpf_get_smp_processor_id(), reason = LOST_OPENED;
	struct opened *o = opened_scratches.lookup(&cpu);
	if (!o)
		return;
	fill_head(&o->head, OPENED, key, id, time);
	u64 peer = load8(key->sock + O_UNIX_PEER), pid = load8(key->sock + O_SK_PEER_PID);
	o->peer = key_of(peer);
	o->tgid = id >> 32;
	o->netns = load4(load8(key->sock + O_SK_NET) + O_NET_INUM);
	o->peer_pid = pid ? load4(pid + O_PID_NUMBERS + O_UPID_NR) : 0;
	o->path_length = copy_path(o->path, key->sock);
	o->peer_path_length = copy_path(o->peer_path, peer);
	bpf_get_current_comm(o->comm, 16);
	note_peer(o->peer_pid);
	if (emit(o, sizeof(*o)))
		state->speaker = 1; /* nobody: the first that speaks is named */
	else
		count_lost(reason);
}

static __always_inline void follow_socket(u64 sock)
{
	struct socket_key key = key_of(sock);
	u32 decision = FOLLOWED;
	if (!key.inode)
		return;
	remember(key.inode, decision);
	presets.update(&key.inode, &decision);
}

/* What passes a socket whose traffic belongs to the same device: both ends of that are followed. */
static __always_inline void follow_channel(struct scratch *s)
{
	s32 number = -1;
	if (s->sent.captured < HEADER || !(0 FAMILY_OPENINGS(OPENS)))
		return;
	load(&number, 4, s->rights, s->from.user);
	u64 file = file_of(number);
	u64 socket = socket_of(file), sock = socket ? load8(socket + O_SOCKET_SK) : 0;
	if (!sock || !is_unix(sock) || !is_stream(socket))
		return;
	follow_socket(sock);
	follow_socket(load8(sock + O_UNIX_PEER));
}

/* The descriptors of a send, by what they are now: their numbers may name other files before anybody can ask. */
static __always_inline void pass(struct scratch *s)
{
	struct source *from = &s->from;
	u64 at = from->control, left = from->control_length, block = 0, count = 0;
	s->sent.descriptors = 0;
	if (!at)
		return;
	for (u32 i = 0; i < CONTROL_LIMIT && left >= 16; i++) {
		struct {
			u64 length;
			s32 level, type;
		} control_header = {};
		load(&control_header, 16, at, from->user);
		if (control_header.length < 16 || control_header.length > left)
			break;
		if (control_header.level == SOCKET_LEVEL && control_header.type == RIGHTS_TYPE) {
			block = at + 16;
			count = (control_header.length - 16) / 4;
			break;
		}
		u64 step = (control_header.length + 7) & ~7ULL;
		if (step > left)
			break;
		at += step;
		left -= step;
	}
	if (!count)
		return;
	if (count > FD_LIMIT)
		count = FD_LIMIT;
	u32 cpu = bpf_get_smp_processor_id();
	struct passed *p = passed_scratches.lookup(&cpu);
	if (!p)
		return;
	for (u32 i = 0; i < FD_LIMIT; i++) {
		s32 number = -1;
		HIDE(i);
		if (i >= count || i >= FD_LIMIT)
			break;
		load(&number, 4, block + 4 * i, from->user);
		u64 file = file_of(number);
		p->fds[i].number = number;
		p->fds[i].mode = 0;
		if (!file)
			continue;
		describe(&p->fds[i], file);
#ifdef COUNT_EVENTFDS
		count_from_now(&p->fds[i], file);
#endif
	}
	s->sent.descriptors = count;
	s->rights = block;
	fill_head(&p->head, PASSED, &s->key, s->id, s->time);
	p->count = count;
	u64 size = count;
	HIDE(size);
	if (size > FD_LIMIT)
		size = FD_LIMIT;
	if (!emit(p, __builtin_offsetof(struct passed, fds) + size * sizeof(struct passed_fd)))
		count_lost(LOST_PASSED);
}

/* Which socket this is. Its inode lies next to it, but what may be peeked at is reached by pointers. */
static __always_inline struct socket_key key_of_socket(u64 socket)
{
	struct socket_key key = {};
	key.sock = PEEK8(socket, O_SOCKET_SK);
#ifdef MODE_FENTRY
	key.inode = PEEK8(PEEK8(PEEK8(socket, O_SOCKET_FILE), O_FILE_INODE), O_INODE_NUMBER);
#else
	key.inode = socket_inode(socket);
#endif
	return key;
}

/* The gate: NULL for a socket that is ignored, else scratch space for a send on it. */
static __always_inline struct scratch *begin(u64 socket, u32 call)
{
	struct socket_key key = key_of_socket(socket);
#ifdef MODE_RAWTP
	if (!is_unix(key.sock))
		return 0;
#endif
	struct entry *entry = find(key.inode);
	u32 tries = entry ? decision_of(entry) : 0;
	if (tries == IGNORED)
		return 0;
	u64 id = bpf_get_current_pid_tgid();
	if (id >> 32 == OWN_PID)
		return 0;
#ifdef MODE_RAWTP
	if (!entry && !is_stream(socket))
		return 0;
#endif
	u32 cpu = bpf_get_smp_processor_id();
	struct scratch *s = scratches.lookup(&cpu);
	if (!s)
		return 0;
	s->id = id;
	s->key = key;
	s->call = call;
	s->tries = tries;
	s->mmsg = 0;
	s->sent.index = 0;
	__builtin_memset(&s->from, 0, sizeof(s->from));
	return s;
}

#ifdef STACK_LIMIT
#ifndef MODE_RAWTP
#ifdef HAS_TASK_REGS /* since Linux 5.15 */
static u64 (*current_task)(void) = (void *)158; /* bpf_get_current_task_btf */
static u64 (*task_registers)(u64 task) = (void *)175; /* bpf_task_pt_regs */
#endif
/* The registers of user space lie at the top of the thread's kernel stack. */
static __always_inline u64 user_registers(void)
{
#ifdef HAS_TASK_REGS
	return task_registers(current_task());
#else
	return load8(bpf_get_current_task() + O_TASK_STACK) + KERNEL_STACK - 8 * REGISTERS;
#endif
}
#endif
#endif

/* Reports the send that the scratch space describes. True when it is followed. */
static __always_inline int report(struct scratch *s)
{
	struct socket_key *key = &s->key;
	copy_data(s);
	if (s->tries != FOLLOWED && !judge(s))
		return 0;
	struct entry *state = find(key->inode);
	if (!state)
		return 0;
	u64 id = s->id, time = bpf_ktime_get_ns();
	if (!state->speaker)
		announce(state, key, id, time);
	s->time = time;
	s->sequence = state->sequence;
	s->lost = state->lost;
	s->named = state->speaker != id;
	if (state->speaker >> 32 != id >> 32)
		note_peer(id >> 32);
	add(&state->sequence, 1);
	pass(s);
	s->stacked = 0;
#ifdef STACK_LIMIT
	s->stacked = take_stack(s->registers, id, time);
	if (!s->stacked)
		count_lost(LOST_STACK);
#endif
	int handed = s->sent.captured <= SHORT ? emit_short(s) : emit_long(s);
	/* Found again, not kept: the verifier would go through the loops above once for each way to find it. */
	if ((!handed || s->named) && (state = find(key->inode))) {
		if (!handed)
			add(&state->lost, 1);
		else if (state->speaker)
			state->speaker = id;
	}
	if (!handed)
		count_lost(LOST_SENT);
	if (s->sent.descriptors)
		follow_channel(s);
	return 1;
}

static __always_inline void await_return(struct scratch *s)
{
	u64 id = s->id;
	u32 at = id & (THREADS - 1);
	struct inflight *entry = sending.lookup(&at);
	if (!entry)
		return;
	entry->id = id;
	entry->length = s->sent.length;
	entry->time = s->time;
#ifdef MODE_RAWTP
	entry->mmsg = s->mmsg;
#endif
}

/* Of two threads that share an entry and send at the same moment, one is taken to have sent all. */
static __always_inline int on_return(s64 result)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 at = id & (THREADS - 1);
	struct inflight *entry = sending.lookup(&at);
	if (!entry || entry->id != id)
		return 0;
	entry->id = 0;
	if (result == (s64)entry->length && !entry->mmsg)
		return 0;
	struct done d = {};
	d.kind = DONE;
	d.tid = id;
	d.time = entry->time;
	d.result = result;
#ifdef MODE_RAWTP
	if (entry->mmsg && result > 0)
		bpf_probe_read_user(&d.last, 4, (void *)(entry->mmsg + 64 * (u64)(result - 1) + 56));
#endif
	if (!emit(&d, sizeof(d)))
		count_lost(LOST_DONE);
	return 0;
}

static __always_inline int on_close(u64 socket, int final)
{
	struct socket_key key = key_of_socket(socket);
	if (!is_followed(find(key.inode))) {
		/* One that has not said anything yet is the other end of one that has. */
		struct socket_key peer = key_of(load8(key.sock + O_UNIX_PEER));
		if (!is_unix(key.sock) || !is_followed(find(peer.inode)))
			return 0;
	}
	struct closed c = {};
	u64 task = bpf_get_current_task();
	u64 id = bpf_get_current_pid_tgid();
	fill_head(&c.head, CLOSED, &key, id, bpf_ktime_get_ns());
	c.head.flags = final | (load4(key.sock + O_SK_UNREAD) ? UNREAD : 0);
	c.tgid = id >> 32;
	if (load4(task + O_TASK_FLAGS) & PROCESS_EXITING)
		c.exit_code = load4(task + O_TASK_EXIT_CODE) | 1U << 31;
	bpf_get_current_comm(c.comm, 16);
	if (!emit(&c, sizeof(c)))
		count_lost(LOST_CLOSED);
	return 0;
}

/*
 * The last thread of a process ends. Two that end at the same moment may both be the last by the count: the first takes
 * the process out of the table. The last may be a worker of io_uring, which ends with 0 whatever killed the process: the
 * code of the process is its group's, where that is set.
 */
RAW_TRACEPOINT_PROBE(sched_process_exit)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	if (!peers.lookup(&tgid))
		return 0;
	u64 task = bpf_get_current_task(), group = load8(task + O_TASK_SIGNAL);
	if (load4(group + O_SIGNAL_LIVE) || peers.delete(&tgid))
		return 0;
	struct exited e = {};
	e.kind = EXITED;
	e.tgid = tgid;
	e.time = bpf_ktime_get_ns();
	e.code = load4(group + O_SIGNAL_CODE);
	if (!e.code)
		e.code = load4(task + O_TASK_EXIT_CODE);
	bpf_probe_read_kernel(e.comm, 16, (void *)(load8(task + O_TASK_LEADER) + O_TASK_COMM));
	if (!emit(&e, sizeof(e)))
		count_lost(LOST_EXITED);
	return 0;
}

static __always_inline int following(void)
{
	u32 at = FOLLOWING;
	u64 *count = control.lookup(&at);
	return count && *count;
}

#ifndef MODE_RAWTP
static __always_inline int on_send(u64 socket, u64 message, u64 length)
{
	u32 kind = 0;
	struct scratch *s = begin(socket, 0);
	if (!s)
		return 0;
	struct source *from = &s->from;
#ifdef STACK_LIMIT
	s->registers = user_registers();
#endif
#if defined(MODE_FENTRY) && ITER_TYPE_SIZE == 1
	kind = PEEK(u8, message, O_MSG_ITER + O_ITER_TYPE);
#else
	bpf_probe_read_kernel(&kind, ITER_TYPE_SIZE, (void *)(message + O_MSG_ITER + O_ITER_TYPE));
#endif
	kind &= ITER_TYPE_MASK;
	s->call = kind;
	from->length = length;
	from->skip = PEEK8(message, O_MSG_ITER + O_ITER_SKIP);
	from->segments = PEEK8(message, O_MSG_ITER + O_ITER_SEGMENTS);
	from->base = PEEK8(message, O_MSG_ITER + O_ITER_IOV);
	from->control = PEEK8(message, O_MSG_CONTROL);
	from->control_length = PEEK8(message, O_MSG_CONTROLLEN);
	if (kind == T_ITER_KVEC) {
		from->kernel_data = 1;
	} else if (kind == T_ITER_UBUF) {
		from->single = 1;
		/* From memory: to the verifier the register holds a pointer, and it adds nothing to one. */
		from->base = *(volatile u64 *)&from->base + from->skip;
#ifdef O_ITER_TYPED_IOV
	} else if (kind == T_ITER_IOVEC && from->segments == 1) {
		from->single = 1;
		from->base = PEEK8(PEEK8(message, O_MSG_ITER + O_ITER_TYPED_IOV), 0) + from->skip;
#endif
	} else if (kind != T_ITER_IOVEC) {
		from->opaque = 1;
	}
	if (report(s))
		await_return(s);
	return 0;
}
#endif

#ifdef MODE_FENTRY
KFUNC_PROBE(unix_stream_sendmsg, u64 socket, u64 message, u64 length)
{
	return on_send(socket, message, length);
}

KRETFUNC_PROBE(unix_stream_sendmsg, u64 socket, u64 message, u64 length, int result)
{
	if (result == (s64)length)
		return 0;
	struct socket_key key = key_of_socket(socket);
	return is_followed(find(key.inode)) ? on_return(result) : 0;
}

#ifdef HAS_UNIX_RELEASE
KFUNC_PROBE(unix_release, u64 socket)
{
	return following() ? on_close(socket, 1) : 0;
}
#endif
#endif

#ifdef MODE_KPROBE
int enter_send(void *ctx)
{
	u64 at = (u64)ctx;
	return on_send(load8(at + O_REG_1), load8(at + O_REG_2), load8(at + O_REG_3));
}

int leave_send(void *ctx)
{
	return on_return((s32)load8((u64)ctx + O_REG_RETURN));
}

int enter_release(void *ctx)
{
	return following() ? on_close(load8((u64)ctx + O_REG_1), 1) : 0;
}
#endif

#ifdef MODE_RAWTP
static __always_inline void read_message(struct source *from, u64 at)
{
	u64 message[7] = {};
	bpf_probe_read_user(message, 56, (void *)at);
	from->user = 1;
	from->base = message[2];
	from->segments = message[3];
	from->control = message[4];
	from->control_length = message[5];
}

RAW_TRACEPOINT_PROBE(sys_enter)
{
	u64 call = ctx->args[1], arguments[3] = {};
#ifdef COUNT_EVENTFDS
	u64 operations = call == NR_READ || call == NR_WRITE ? eventfd_operations() : 0;
	int is_own = call != NR_READ || operations;
#else
	int is_own = call != NR_READ;
#endif
	if (call == NR_IOCTL || call == NR_PWRITE64 || !is_own) {
		steps.call(ctx, SEE_CALL);
		return 0;
	}
	if (call != NR_READ && call != NR_SENDMSG && call != NR_SENDTO && call != NR_WRITE && call != NR_WRITEV &&
	    call != NR_SENDMMSG && (call != NR_CLOSE || !following())) {
		if (IS_DUP(call))
			steps.call(ctx, SEE_CALL);
		return 0;
	}
	/* The first three lie side by side: upwards on arm64, downwards on x86. */
	load(arguments, 24, ctx->args[0] + (O_REG_1 < O_REG_3 ? O_REG_1 : O_REG_3), 0);
	u64 first = arguments[O_REG_1 < O_REG_3 ? 0 : 2], second = arguments[1];
	u64 third = arguments[O_REG_1 < O_REG_3 ? 2 : 0];
#ifdef COUNT_EVENTFDS
	if (call == NR_READ && third != READ_SIZE && third != QEMU_READ_SIZE) {
		steps.call(ctx, SEE_CALL);
		return 0;
	}
#endif
	u64 file = file_of(first);
#ifdef COUNT_EVENTFDS
	if (operations && count_access(file, operations, call == NR_READ))
		return 0;
	if (call == NR_READ) {
		steps.call(ctx, SEE_CALL);
		return 0;
	}
#endif
	u64 socket = socket_of(file);
	if (!socket) {
		if (call == NR_WRITE || call == NR_WRITEV)
			steps.call(ctx, SEE_CALL);
		return 0;
	}
#if defined(O_TASK_STATUS) && defined(__x86_64__)
	if (load4(bpf_get_current_task() + O_TASK_STATUS) & COMPAT_CALL)
		return 0;
#endif
	if (call == NR_CLOSE)
		return on_close(socket, 0);
	struct scratch *s = begin(socket, call);
	if (!s)
		return 0;
	struct source *from = &s->from;
	s->registers = ctx->args[0];
	if (call == NR_SENDMMSG) {
		s->mmsg = second;
		s->mmsg_count = (u32)third;
	} else if (call == NR_SENDMSG) {
		read_message(from, second);
	} else if (call == NR_WRITEV) {
		from->user = 1;
		from->base = second;
		from->segments = third;
	} else {
		from->single = 1;
		from->base = second;
		from->length = third;
	}
	steps.call(ctx, REPORT_SEND);
	return 0;
}

/* The send itself, apart so that it is verified once; for the messages of a sendmmsg it calls itself (33 in all). */
int report_send(struct bpf_raw_tracepoint_args *ctx)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct scratch *s = scratches.lookup(&cpu);
	if (!s)
		return 0;
	if (s->mmsg) {
		if (s->sent.index >= s->mmsg_count)
			return 0;
		read_message(&s->from, s->mmsg + 64 * (u64)s->sent.index);
	}
	if (!report(s))
		return 0;
	if (!s->sent.index)
		await_return(s);
	if (s->mmsg) {
		s->tries = FOLLOWED;
		s->sent.index += 1;
		steps.call(ctx, REPORT_SEND);
	}
	return 0;
}

RAW_TRACEPOINT_PROBE(sys_exit)
{
	on_return((s64)ctx->args[1]);
	steps.call(ctx, SEE_RETURN);
	return 0;
}
#endif
