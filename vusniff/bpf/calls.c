// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls on vhost devices of the kernel: ioctl on /dev/vhost-*, /dev/vhost-vdpa-* and /dev/vduse/*, and what is written to
 * them and read from them (IOTLB messages, control messages of VDUSE). Raw tracepoints in every mode of probe.c:
 *
 *   CHAINED    probe.c hands over what it is given by its own (MODE_RAWTP)
 *   otherwise  by tracepoints of this program
 *
 * A device is known by its number (inode.i_rdev), which is looked at anew at each call: the kernel gives the address of a
 * closed struct file to the next file that is opened, so an address says nothing. The numbers come from the reader, which
 * knows the names of devices, and from the kernel program itself when a character device takes an ioctl of type 0xAF or
 * 0x81; the reader takes back what is no vhost device.
 *
 * What is read and written is looked at only where it may be such a device: in a process that called ioctl on one, by a
 * descriptor whose number modulo 64 had that call. A copy of such a descriptor may get any number: after dup(2) and the
 * like all numbers of that process are looked at.
 *
 * A call is reported when it is entered, with the bytes that are given and what its descriptor is, and when it returns,
 * with the result and the bytes that came back. With STACK_LIMIT the call stack of one that is no read is handed over
 * before. O_* and NR_* as in probe.c.
 */
#include <linux/types.h>

#include "records.h"
#include "kernel.h"

#ifdef STACK_LIMIT
#include "stacks.h"
#endif

#define VHOST_TYPE 0xaf
#define VDUSE_TYPE 0x81
#define S_CHARACTER 0020000
#define CALL_DATA 32768
#define READ_DATA 4096
#define GIVEN 1 /* in a direction of an ioctl: the caller gives */
#define BACK 2

enum call_kind { ENTERED, RETURNED };

struct call_record {
	u8 kind, has_fd;
	u16 call;
	u32 tid, tgid, request;
	u64 time;
	s64 result;
	s32 fd;
	u32 rdev, size, asked;
	struct passed_fd passed;
	u8 data[2 * CALL_DATA];
};

_Static_assert(__builtin_offsetof(struct call_record, data) == SIZE_CALL, "call");

/* A call that has not returned. */
struct open_call {
	u64 argument, time;
	u32 request, rdev, size;
	u16 call, unused;
	s32 fd;
};

BPF_RINGBUF_OUTPUT(call_ring, CALL_PAGES);
BPF_TABLE("array", u32, struct call_record, call_scratch, CPUS);
BPF_TABLE("hash", u32, struct open_call, open_calls, 4096);
/* Processes that have called ioctl on such a device -> a bit for each number modulo 64 of its descriptors: nobody reads
 * or writes one before. The reader knows who had one open before. */
BPF_TABLE("lru_hash", u32, u64, users, 4096);
/* Numbers of devices -> whether they are vhost devices, or only took an ioctl that looks so. */
BPF_TABLE("hash", u32, u32, devices, 1024);
enum count { CALLS_LOST, STACKS_LOST, CALLS_OPEN, COUNTS };

/* Records that were lost, and how many calls have not returned. */
BPF_ARRAY(call_counts, u64, COUNTS);

static __always_inline void count_lost(u32 at)
{
	u64 *count = call_counts.lookup(&at);
	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline int is_vhost_ioctl(u32 request)
{
	u32 type = request >> 8 & 0xff;
	return type == VHOST_TYPE || type == VDUSE_TYPE;
}

/* The number of the character device behind a descriptor, 0 for any other file. */
static __always_inline u32 device_of(s32 fd)
{
	u64 file = file_of(fd), inode = file ? load8(file + O_FILE_INODE) : 0;
	if (!inode || (load2(inode + O_INODE_MODE) & S_TYPE) != S_CHARACTER)
		return 0;
	return load4(inode + O_INODE_RDEV);
}

/* How many bytes an argument has: a few structures are followed by as many more as they say. */
static __always_inline u32 extent(u32 request, u64 argument)
{
	u32 size = request >> 16 & 0x3fff, words[2] = {};
	u32 number = request & 0xffff;
	if (number == 0xaf03 || number == 0xaf73 || number == 0xaf74 || number == 0xaf83 || number == 0x8112) {
		bpf_probe_read_user(words, 8, (void *)argument);
		if (number == 0xaf03)
			size = words[0] < 1023 ? 8 + 32 * words[0] : CALL_DATA;
		else if (number == 0xaf83)
			size = words[0] < 64 ? 8 + 8 * words[0] : 8;
		else
			size = words[1] < 4096 ? 8 + words[1] : 8;
	} else if (number == 0x8102) {
		bpf_probe_read_user(words, 4, (void *)(argument + 332));
		size = words[0] < 4096 ? 336 + words[0] : 336;
	}
	return size;
}

/* The descriptor that an argument names: the whole of it, or its second word. */
static __always_inline int names_descriptor(u32 request)
{
	switch (request & 0xffff) {
	case 0xaf07:
	case 0xaf77:
		return 1;
	case 0xaf20:
	case 0xaf21:
	case 0xaf22:
	case 0xaf30:
	case 0x8116:
		return 2;
	}
	return 0;
}

static __always_inline void emit_call(struct open_call *c, u8 kind, s64 result, u64 size, u64 time)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct call_record *r = call_scratch.lookup(&cpu);
	if (!r)
		return;
	u64 id = bpf_get_current_pid_tgid();
	r->kind = kind;
	r->call = c->call;
	r->tid = id;
	r->tgid = id >> 32;
	r->request = c->request;
	r->time = time;
	r->result = result;
	r->fd = c->fd;
	r->rdev = c->rdev;
	r->asked = size;
	r->has_fd = 0;
	HIDE(size);
	if (size > CALL_DATA)
		size = CALL_DATA;
	if (size && bpf_probe_read_user(r->data, size, (void *)c->argument))
		size = 0;
	r->size = size;
	u32 names = kind == ENTERED && c->call == NR_IOCTL ? names_descriptor(c->request) : 0;
	if (names && size >= 4 * names) {
		s32 number = *(s32 *)(r->data + (names == 2 ? 4 : 0));
		u64 file = number >= 0 ? file_of(number) : 0;
		if (file) {
			r->has_fd = 1;
			r->passed.number = number;
			describe(&r->passed, file);
		}
	}
	u64 total = __builtin_offsetof(struct call_record, data) + size;
	HIDE(total);
	if (total > __builtin_offsetof(struct call_record, data) + CALL_DATA)
		return;
	if (call_ring.ringbuf_output(r, total, NO_WAKEUP) && call_ring.ringbuf_output(r, total, NO_WAKEUP))
		count_lost(CALLS_LOST);
}

#define IS_VHOST 1

/* Whether calls on a device are of interest. A device that takes an ioctl of vhost's is, until the reader says no. */
static __always_inline int is_wanted(u32 rdev, u64 call)
{
	u32 *known = devices.lookup(&rdev), is = IS_VHOST;
	if (known || call != NR_IOCTL)
		return known && *known == IS_VHOST;
	return !devices.update(&rdev, &is);
}

static __always_inline int is_open(void)
{
	u32 at = CALLS_OPEN;
	u64 *count = call_counts.lookup(&at);
	return count && *count;
}

static __always_inline void count_open(s64 more)
{
	u32 at = CALLS_OPEN;
	u64 *count = call_counts.lookup(&at);
	if (count)
		__sync_fetch_and_add(count, more);
}

/* Remembers that a process uses such a device by this descriptor. */
static __always_inline void use(u32 tgid, u64 fd)
{
	u64 bit = 1ULL << (fd & 63), *bits = users.lookup(&tgid);
	if (!bits)
		users.update(&tgid, &bit);
	else if (!(*bits & bit))
		__sync_fetch_and_or(bits, bit);
}

#ifdef CHAINED
int see_call(struct bpf_raw_tracepoint_args *ctx)
#else
RAW_TRACEPOINT_PROBE(sys_enter)
#endif
{
	u64 call = ctx->args[1], arguments[3] = {};
	int is_copy = IS_DUP(call);
	if (call != NR_IOCTL && call != NR_READ && call != NR_WRITE && call != NR_WRITEV && call != NR_PWRITE64 && !is_copy)
		return 0;
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = id, tgid = id >> 32;
	if (call != NR_IOCTL) {
		u64 *bits = users.lookup(&tgid);
		if (!bits || !(*bits >> (load4(ctx->args[0] + O_REG_1) & 63) & 1))
			return 0;
		if (is_copy) {
			*bits = ~0ULL;
			return 0;
		}
	}
	load(arguments, 24, ctx->args[0] + (O_REG_1 < O_REG_3 ? O_REG_1 : O_REG_3), 0);
	u64 first = arguments[O_REG_1 < O_REG_3 ? 0 : 2], second = arguments[1];
	u64 third = arguments[O_REG_1 < O_REG_3 ? 2 : 0];
	if (call == NR_IOCTL && !is_vhost_ioctl(second))
		return 0;
	struct open_call c = {};
	c.fd = first;
	c.rdev = device_of(c.fd);
	if (!c.rdev || !is_wanted(c.rdev, call))
		return 0;
#if defined(O_TASK_STATUS) && defined(__x86_64__)
	if (load4(bpf_get_current_task() + O_TASK_STATUS) & COMPAT_CALL)
		return 0;
#endif
	if (tgid == OWN_PID)
		return 0;
	if (call == NR_IOCTL)
		use(tgid, first);
	c.call = call;
	c.time = bpf_ktime_get_ns();
#ifdef STACK_LIMIT
	/* What is read the kernel says: nobody sends it. */
	if (call != NR_READ && !take_stack(ctx->args[0], id, c.time))
		count_lost(STACKS_LOST);
#endif
	if (call == NR_IOCTL) {
		c.request = second;
		c.argument = third;
		c.size = extent(c.request, third);
		emit_call(&c, ENTERED, 0, c.request >> 30 & GIVEN ? c.size : 0, c.time);
	} else {
		u64 segment[2] = {second, third};
		if (call == NR_WRITEV)
			bpf_probe_read_user(segment, 16, (void *)second);
		c.argument = segment[0];
		c.size = segment[1] > READ_DATA ? READ_DATA : segment[1];
		if (call != NR_READ)
			emit_call(&c, ENTERED, 0, c.size, c.time);
	}
	/* One that never returned, as its thread was killed, is there still. */
	if (!open_calls.lookup(&tid))
		count_open(1);
	if (open_calls.update(&tid, &c))
		count_open(-1);
	return 0;
}

#ifdef CHAINED
int see_return(struct bpf_raw_tracepoint_args *ctx)
#else
RAW_TRACEPOINT_PROBE(sys_exit)
#endif
{
	if (!is_open())
		return 0;
	u32 tid = bpf_get_current_pid_tgid();
	struct open_call *c = open_calls.lookup(&tid);
	if (!c)
		return 0;
	struct open_call was = *c;
	open_calls.delete(&tid);
	count_open(-1);
	s64 result = ctx->args[1];
	u64 size = 0;
	if (result >= 0 && was.call == NR_IOCTL && was.request >> 30 & BACK)
		size = was.size;
	else if (result > 0 && was.call == NR_READ)
		size = result;
	emit_call(&was, RETURNED, result, size, bpf_ktime_get_ns());
	return 0;
}
