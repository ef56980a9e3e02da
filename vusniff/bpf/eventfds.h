/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How often event descriptors are signalled and read: kicks and calls. Only those count that a followed socket passed,
 * from then on, because the kernel gives their ids to others later.
 *
 *   MODE_FENTRY, MODE_KPROBE  eventfd_write, eventfd_read, and eventfd_signal, by which the kernel signals
 *   MODE_RAWTP                the system calls read and write: what the kernel signals (KVM's ioeventfd, vhost) is seen
 *                             only when it is read
 */
#ifndef VUSNIFF_EVENTFDS_H
#define VUSNIFF_EVENTFDS_H

#define ANONYMOUS 0x09041934 /* ANON_INODE_FS_MAGIC */
#define EVENTFD_NAME 0x6466746e6576655bULL /* "[eventfd" as a little-endian number */
#define READ_SIZE 8
#define QEMU_READ_SIZE 512 /* event_notifier_test_and_clear, util/event_notifier-posix.c */

/* By the lowest bits of the id: where two that count share them, which takes more event descriptors than there is room
 * for, the one that was passed last counts. Readable and writable by the reader, which maps it. */
BPF_F_TABLE("array", u32, struct eventfd, eventfds, EVENTFDS, MAPPABLE);
#ifdef HAS_EVENTFD_SIGNAL_MASK
/* By CPU: whom eventfd_signal signals now; it calls eventfd_signal_mask, or contains it. */
BPF_TABLE("array", u32, u64, signalling, CPUS);
#endif

/* What tells an event descriptor from other files: its operations; 0 before one was passed. */
static __always_inline u64 eventfd_operations(void)
{
	u32 at = EVENTFD_OPERATIONS;
	u64 *known = control.lookup(&at);
	return known ? *known : 0;
}

static __always_inline void count_from_now(struct passed_fd *d, u64 file)
{
	u32 at = EVENTFD_OPERATIONS, slot = d->eventfd & (EVENTFDS - 1);
	u64 operations = load8(file + O_FILE_OPERATIONS);
	struct eventfd *one = eventfds.lookup(&slot);
	if (d->magic != ANONYMOUS || *(u64 *)d->name != EVENTFD_NAME || !one)
		return;
	control.update(&at, &operations);
	one->signals = one->reads = 0;
	one->id = d->eventfd;
	one->counts = 1;
}

static __always_inline struct eventfd *counted(u64 context)
{
	u32 id = load4(context + O_EVENTFD_ID), slot = id & (EVENTFDS - 1);
	struct eventfd *one = eventfds.lookup(&slot);
	return one && one->counts && one->id == id ? one : 0;
}

/* A read or a write of a file, if it is an event descriptor. */
static __always_inline int count_access(u64 file, u64 operations, int is_read)
{
	if (!file || load8(file + O_FILE_OPERATIONS) != operations)
		return 0;
	struct eventfd *one = counted(load8(file + O_FILE_PRIVATE));
	if (one)
		__sync_fetch_and_add(is_read ? &one->reads : &one->signals, 1);
	return 1;
}

/* A function that reads or writes; up to 5.7 the one that reads is given the file, then a struct kiocb that begins with
 * it. */
static __always_inline int count_function(u64 argument, int is_read)
{
	u64 operations = eventfd_operations();
	if (operations && !count_access(argument, operations, is_read) && is_read)
		count_access(load8(argument), operations, is_read);
	return 0;
}

static __always_inline int count_signal(u64 context, int masked)
{
#ifdef HAS_EVENTFD_SIGNAL_MASK
	u32 cpu = bpf_get_smp_processor_id();
	u64 *now = signalling.lookup(&cpu);
	if (!now || (masked && *now == context && context)) {
		if (now)
			*now = 0;
		return 0;
	}
	*now = masked ? 0 : context;
#endif
	struct eventfd *one = eventfd_operations() ? counted(context) : 0;
	if (one)
		__sync_fetch_and_add(&one->signals, 1);
	return 0;
}

#ifdef MODE_FENTRY
KFUNC_PROBE(eventfd_write, u64 file)
{
	return count_function(file, 0);
}

KFUNC_PROBE(eventfd_read, u64 argument)
{
	return count_function(argument, 1);
}

#ifdef HAS_EVENTFD_SIGNAL
KFUNC_PROBE(eventfd_signal, u64 context)
{
	return count_signal(context, 0);
}
#endif

#ifdef HAS_EVENTFD_SIGNAL_MASK
KFUNC_PROBE(eventfd_signal_mask, u64 context)
{
	return count_signal(context, 1);
}
#endif
#endif

#ifdef MODE_KPROBE
int write_eventfd(void *ctx)
{
	return count_function(load8((u64)ctx + O_REG_1), 0);
}

int read_eventfd(void *ctx)
{
	return count_function(load8((u64)ctx + O_REG_1), 1);
}

int signal_eventfd(void *ctx)
{
	return count_signal(load8((u64)ctx + O_REG_1), 0);
}

int signal_eventfd_mask(void *ctx)
{
	return count_signal(load8((u64)ctx + O_REG_1), 1);
}
#endif

#endif
