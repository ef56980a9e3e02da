// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sends on unix stream sockets, as the kernel sees them.
 *
 * One program, three ways to attach, chosen by -D:
 *   MODE_FENTRY  fentry and fexit of unix_stream_sendmsg and unix_release
 *   MODE_KPROBE  kprobe and kretprobe of the same functions
 *   MODE_RAWTP   raw tracepoints sys_enter and sys_exit: sendmsg, sendmmsg, sendto, write, writev, close
 *
 * No kernel header is read: O_* are offsets and T_* enumeration values of the running kernel (vusniff/bpf/offsets.py),
 * SIZE_* are the record sizes that the reader expects (vusniff/bpf/records.py).
 *
 * A send is reported twice: at entry with its bytes, because then they can be read and no answer can be ahead of its
 * question, and at return with what the kernel took of it. The bounds are written for the verifier: a 64-bit value, an
 * empty asm that hides it from the compiler, then the comparison, right before its use. Otherwise clang compares a copy.
 */
#include <linux/types.h>

#include "records.h"
#include "kernel.h"

struct follow {
	u64 sequence, lost;
	u32 announced, unused;
};

/* What a thread is sending: its entry stays, because making one costs more than all else that is done for a send. */
struct inflight {
	u64 time, mmsg;
	u32 call, unused;
};

BPF_RINGBUF_OUTPUT(ring, RING_PAGES);
BPF_ARRAY(lost, u64, LOST_REASONS);
BPF_ARRAY(control, u64, CONTROLS);
BPF_TABLE("array", u32, struct scratch, scratches, CPUS);
BPF_TABLE("array", u32, struct passed, passed_scratches, CPUS);
BPF_TABLE("array", u32, struct opened, opened_scratches, CPUS);
/* The one look-up that a socket costs that is not followed. The oldest verdict gives way: it is only judged again. */
BPF_TABLE("lru_hash", struct socket_key, u32, verdicts, 65536);
BPF_TABLE("hash", struct socket_key, struct follow, followed, 16384);
/* Verdicts from user space by inode, which is all that it knows before a socket speaks. */
BPF_TABLE("hash", u64, u32, presets, 65536);
#ifndef MODE_FENTRY
BPF_TABLE("lru_hash", u64, struct inflight, sending, 16384);
#endif
#ifdef MODE_RAWTP
BPF_PROG_ARRAY(steps, 1);
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

/* Copies what the send hands over; sets captured and, where the caller could not know it, length. */
static __always_inline void copy_data(struct scratch *s)
{
	struct source *from = &s->from;
	s->sent.captured = 0;
	s->sent.length = from->length;
	if (from->opaque)
		return;
	if (from->single) {
		u64 size = from->length;
		HIDE(size);
		if (size > DATA_LIMIT)
			size = DATA_LIMIT;
		if (!load(s->data, size, from->base, !from->kernel_data))
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

/* A header with a request that exists or may come, version 1, no unknown flag, and a size that fits the send. */
static __always_inline int plausible(struct scratch *s)
{
	u32 *header = (u32 *)s->data;
	if (s->sent.captured < HEADER)
		return 0;
	if (header[0] - 1 >= 63 || (header[1] & ~0xc) != 1 || header[2] > 1 << 20)
		return 0;
	return s->sent.length == HEADER || s->sent.length >= HEADER + (u64)header[2];
}

/* Decides about a socket that has no final verdict. */
static __always_inline int judge(struct scratch *s, struct socket_key *key, u64 sock, u32 before)
{
	u32 verdict = before + 1 >= TRIES ? IGNORED : before + 1, *known;
	struct socket_key peer = key_of(load8(sock + O_UNIX_PEER));
	if (followed.lookup(key) || followed.lookup(&peer)) {
		verdict = FOLLOWED;
	} else if ((known = presets.lookup(&key->inode)) || (peer.inode && (known = presets.lookup(&peer.inode)))) {
		verdict = *known;
#ifdef FOLLOW_ANY
	} else {
		verdict = FOLLOWED;
#else
	} else if (plausible(s)) {
		verdict = FOLLOWED;
#endif
	}
	verdicts.update(key, &verdict);
	return verdict == FOLLOWED;
}

static __always_inline void fill_head(struct head *head, u8 kind, struct socket_key *key, u64 time)
{
	head->kind = kind;
	head->flags = 0;
	head->call = 0;
	head->tid = bpf_get_current_pid_tgid();
	head->time = time;
	head->key = *key;
}

/* Who is at both ends: once per socket, and again if it did not reach the ring. */
static __always_inline void announce(struct follow *state, struct socket_key *key, u64 time)
{
	u32 cpu = bpf_get_smp_processor_id(), reason = LOST_OPENED;
	struct opened *o = opened_scratches.lookup(&cpu);
	if (!o)
		return;
	fill_head(&o->head, OPENED, key, time);
	u64 peer = load8(key->sock + O_UNIX_PEER), pid = load8(key->sock + O_SK_PEER_PID);
	o->peer = key_of(peer);
	o->tgid = bpf_get_current_pid_tgid() >> 32;
	o->netns = load4(load8(key->sock + O_SK_NET) + O_NET_INUM);
	o->peer_pid = pid ? load4(pid + O_PID_NUMBERS + O_UPID_NR) : 0;
	o->path_length = copy_path(o->path, key->sock);
	o->peer_path_length = copy_path(o->peer_path, peer);
	bpf_get_current_comm(o->comm, 16);
	if (emit(o, sizeof(*o)))
		state->announced = 1;
	else
		count_lost(reason);
}

static __always_inline void describe(struct passed_fd *d, u64 file)
{
	u64 inode = load8(file + O_FILE_INODE), super = load8(inode + O_INODE_SB);
	d->mode = load2(inode + O_INODE_MODE);
	d->inode = load8(inode + O_INODE_NUMBER);
	d->size = load8(inode + O_INODE_SIZE);
	d->rdev = load4(inode + O_INODE_RDEV);
	d->magic = load8(super + O_SB_MAGIC);
	d->device = load4(super + O_SB_DEV);
	d->eventfd = 0;
#ifdef O_EVENTFD_ID
	/* Of any other file these are four bytes that nobody looks at. */
	d->eventfd = load4(load8(file + O_FILE_PRIVATE) + O_EVENTFD_ID);
#endif
	bpf_probe_read_kernel_str(d->name, NAME_LIMIT, (void *)load8(load8(file + O_FILE_DENTRY) + O_DENTRY_NAME));
}

static __always_inline void follow_socket(u64 sock)
{
	struct socket_key key = key_of(sock);
	u32 verdict = FOLLOWED;
	if (sock)
		verdicts.update(&key, &verdict);
}

/* SET_BACKEND_REQ_FD and GPU_SET_SOCKET pass a socket whose traffic belongs to the same device: both ends of it. */
static __always_inline void follow_channel(struct scratch *s, u64 file)
{
	u32 *header = (u32 *)s->data;
	if (s->sent.captured < HEADER || (header[0] != 21 && header[0] != 33) || header[1] & 4)
		return;
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
		if (!i)
			follow_channel(s, file);
		describe(&p->fds[i], file);
	}
	s->sent.descriptors = count;
	p->head = s->sent.head;
	p->head.kind = PASSED;
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
	u32 *verdict = verdicts.lookup(&key), tries = verdict ? *verdict : 0, cpu = bpf_get_smp_processor_id();
	if (tries == IGNORED || bpf_get_current_pid_tgid() >> 32 == OWN_PID)
		return 0;
#ifdef MODE_RAWTP
	if (!verdict && !is_stream(socket))
		return 0;
#endif
	struct scratch *s = scratches.lookup(&cpu);
	if (!s)
		return 0;
	s->key = key;
	s->call = call;
	s->tries = tries;
	s->want = tries == FOLLOWED ? 1 : -1;
	s->mmsg = 0;
	s->sent.index = 0;
	__builtin_memset(&s->from, 0, sizeof(s->from));
	return s;
}

/* Reports the send that the scratch space describes. True when it is followed. */
static __always_inline int report(struct scratch *s)
{
	struct socket_key own = s->key, *key = &own;
	copy_data(s);
	if (s->want < 0 && !judge(s, key, own.sock, s->tries))
		return 0;
	struct follow *state = followed.lookup(key);
	if (!state) {
		struct follow fresh = {};
		u32 following = FOLLOWING;
		followed.update(key, &fresh);
		state = followed.lookup(key);
		if (!state) {
			count_lost(LOST_TABLE);
			return 0;
		}
		add(control.lookup(&following), 1);
	}
	u64 id = bpf_get_current_pid_tgid(), time = bpf_ktime_get_ns();
	if (!state->announced)
		announce(state, key, time);
	fill_head(&s->sent.head, SENT, key, time);
	s->sent.head.call = s->call;
	s->sent.tgid = id >> 32;
	s->sent.sequence = state->sequence;
	s->sent.lost = state->lost;
	bpf_get_current_comm(s->sent.comm, 16);
	add(&state->sequence, 1);
	pass(s);
	u64 size = s->sent.captured;
	HIDE(size);
	size &= 2 * DATA_LIMIT - 1;
	if (!emit(s, __builtin_offsetof(struct scratch, data) + size)) {
		add(&state->lost, 1);
		count_lost(LOST_SENT);
	}
	return 1;
}

#ifdef MODE_FENTRY
/* At return the socket is known again, so that nothing needs to be kept but that somebody is sending. */
static __always_inline void await_return(struct scratch *s)
{
	u32 at = SENDING;
	add(control.lookup(&at), 1);
}

static __always_inline int on_return(u64 socket, s64 result)
{
	u32 at = SENDING;
	u64 *count = control.lookup(&at);
	if (!count || !*count)
		return 0;
	struct socket_key key = key_of_socket(socket);
	u32 *verdict = verdicts.lookup(&key);
	if (!verdict || *verdict != FOLLOWED)
		return 0;
	struct done d = {};
	d.kind = DONE;
	d.tid = bpf_get_current_pid_tgid();
	d.result = result;
	add(count, -1);
	if (!emit(&d, sizeof(d)))
		count_lost(LOST_DONE);
	return 0;
}
#else
static __always_inline void await_return(struct scratch *s)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 at = SENDING;
	struct inflight *entry = sending.lookup(&id);
	if (!entry) {
		struct inflight fresh = {};
		sending.update(&id, &fresh);
		entry = sending.lookup(&id);
		if (!entry)
			return;
	}
	entry->mmsg = s->mmsg;
	entry->call = s->call;
	entry->time = s->sent.head.time;
	add(control.lookup(&at), 1);
}

static __always_inline int on_return(s64 result)
{
	u32 at = SENDING;
	u64 *count = control.lookup(&at);
	if (!count || !*count)
		return 0;
	u64 id = bpf_get_current_pid_tgid();
	struct inflight *entry = sending.lookup(&id);
	if (!entry || !entry->time)
		return 0;
	struct done d = {};
	d.kind = DONE;
	d.call = entry->call;
	d.tid = id;
	d.time = entry->time;
	d.result = result;
#ifdef MODE_RAWTP
	if (entry->mmsg && result > 0)
		bpf_probe_read_user(&d.last, 4, (void *)(entry->mmsg + 64 * (u64)(result - 1) + 56));
#endif
	entry->time = 0;
	add(count, -1);
	if (!emit(&d, sizeof(d)))
		count_lost(LOST_DONE);
	return 0;
}

#endif

static __always_inline int on_close(u64 socket, int final)
{
	struct socket_key key = key_of_socket(socket);
	if (!followed.lookup(&key))
		return 0;
	struct closed c = {};
	u64 task = bpf_get_current_task();
	fill_head(&c.head, CLOSED, &key, bpf_ktime_get_ns());
	c.head.flags = final;
	c.tgid = bpf_get_current_pid_tgid() >> 32;
	if (load4(task + O_TASK_FLAGS) & PROCESS_EXITING)
		c.exit_code = load4(task + O_TASK_EXIT_CODE) | 1U << 31;
	bpf_get_current_comm(c.comm, 16);
	if (!emit(&c, sizeof(c)))
		count_lost(LOST_CLOSED);
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
	u64 iter = message + O_MSG_ITER;
	u32 kind = 0;
	struct scratch *s = begin(socket, 0);
	if (!s)
		return 0;
	struct source *from = &s->from;
#if defined(MODE_FENTRY) && ITER_TYPE_SIZE == 1
	kind = PEEK(u8, message, O_MSG_ITER + O_ITER_TYPE);
#else
	bpf_probe_read_kernel(&kind, ITER_TYPE_SIZE, (void *)(iter + O_ITER_TYPE));
#endif
	kind &= ITER_TYPE_MASK;
	s->call = kind;
	from->length = length;
	from->skip = PEEK8(message, O_MSG_ITER + O_ITER_SKIP);
	from->segments = PEEK8(message, O_MSG_ITER + O_ITER_SEGMENTS);
	from->base = load8(iter + O_ITER_IOV);
	from->control = PEEK8(message, O_MSG_CONTROL);
	from->control_length = PEEK8(message, O_MSG_CONTROLLEN);
	if (kind == T_ITER_KVEC) {
		from->kernel_data = 1;
#ifdef O_ITER_UBUF
	} else if (kind == T_ITER_UBUF) {
		from->single = 1;
		from->base = load8(iter + O_ITER_UBUF) + from->skip;
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
	return on_return(socket, result);
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
	u64 call = ctx->args[1], registers = ctx->args[0];
	if (call != NR_SENDMSG && call != NR_SENDTO && call != NR_WRITE && call != NR_WRITEV && call != NR_SENDMMSG &&
	    (call != NR_CLOSE || !following()))
		return 0;
	u64 socket = socket_of(file_of(load8(registers + O_REG_1)));
	if (!socket)
		return 0;
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
	u64 second = load8(registers + O_REG_2), third = load8(registers + O_REG_3);
	if (call == NR_SENDMMSG) {
		s->mmsg = second;
		s->mmsg_count = third;
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
	steps.call(ctx, 0);
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
		s->want = 1;
		s->sent.index += 1;
		steps.call(ctx, 0);
	}
	return 0;
}

RAW_TRACEPOINT_PROBE(sys_exit)
{
	return on_return((s64)ctx->args[1]);
}
#endif
