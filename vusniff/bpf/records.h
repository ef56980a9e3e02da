/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel program hands to its reader, and what it works with meanwhile. The reader defines what both must agree
 * on (vusniff/bpf/records.py): SIZE_* are sizes that are checked here; kinds of records, reasons of a loss (LOST_*),
 * decisions and limits are used from there. No structure has padding that it does not name.
 */
#ifndef VUSNIFF_RECORDS_H
#define VUSNIFF_RECORDS_H

#define HEADER 12
#define SEGMENT_LIMIT 256 /* rounds of a loop; 1024 of them are too many for the verifier */
#define CONTROL_LIMIT 4
#define NO_WAKEUP 1 /* BPF_RB_NO_WAKEUP: the reader comes by itself; waking it for every send costs eight times the send */

enum decision { UNKNOWN = 0, TRIES = 4 }; /* further values: IGNORED and FOLLOWED */
enum control { FOLLOWING, EVENTFD_OPERATIONS, CONTROLS };

struct socket_key {
	u64 sock, inode;
};

/*
 * What is known of a socket: its inode number and the decision about it in one word, so that they are written at once; and,
 * of one that is followed, its sends. The reader knows this layout (vusniff/bpf/records.py).
 */
#define MAPPABLE 1024 /* BPF_F_MMAPABLE */

struct entry {
	u64 word, sequence, lost;
	u64 speaker; /* the thread that was named last, or 0: not announced */
};

struct bucket {
	struct entry ways[WAYS];
};

/* Of an event descriptor, by its id: whether it counts, and how often it was signalled and read since. */
struct eventfd {
	u64 counts, signals, reads, id;
};

#define THREADS 65536

/* What a thread is sending, by the low bits of its number. */
struct inflight {
	u64 id, length, time, mmsg;
};

struct head {
	u8 kind, flags;
	u16 call;
	u32 tid;
	u64 time;
	struct socket_key key;
};

struct sent {
	struct head head;
	u32 tgid, descriptors;
	u64 length;
	u32 captured, index;
	u64 sequence, lost;
	char comm[16];
};

#define NAMED 1 /* in flags: comm is there; else it is what this thread was last called */
#define STACKED 4 /* in flags: its call stack was handed over before it */
#define SHORT 32

struct short_sent {
	struct sent sent;
	u64 data[SHORT / 8];
};

struct passed_fd {
	s32 number;
	u32 mode;
	u64 inode, size;
	u32 magic, device, rdev, eventfd;
	char name[NAME_LIMIT];
};

struct passed {
	struct head head;
	u32 count, unused;
	struct passed_fd fds[FD_LIMIT];
};

struct opened {
	struct head head;
	struct socket_key peer;
	u32 tgid, netns;
	s32 peer_pid;
	u16 path_length, peer_path_length;
	char comm[16];
	char path[PATH_LIMIT], peer_path[PATH_LIMIT];
};

struct done {
	u8 kind, flags;
	u16 call;
	u32 tid;
	u64 time;
	s64 result;
	u64 last;
};

#define UNREAD 2 /* in flags: what the peer has sent was not all read, so that the kernel tells the peer a reset */

struct closed {
	struct head head;
	u32 tgid, exit_code;
	char comm[16];
};

/* A process whose socket is followed ends; its files are closed after this. */
struct exited {
	u8 kind, flags;
	u16 call;
	u32 tgid;
	u64 time;
	u32 code, unused;
	char comm[16];
};

/*
 * Where a thread was when it sent, and what its stack holds from the stack pointer on, up to the first page that is not
 * there. STACK_LIMIT is only defined when stacks are asked for.
 */
#define REGISTERS 21 /* struct pt_regs of x86-64 (arch/x86/include/asm/ptrace.h), r15 first */
#define PAGE_BYTES 4096
#define NO_STACK 1 /* in flags: a thread of the kernel sent it for a process (io_uring), and it has no user stack */

#ifdef STACK_LIMIT
struct stack {
	u8 kind, flags;
	u16 call;
	u32 tid;
	u64 time;
	u32 tgid, captured;
	u64 registers[REGISTERS];
	u8 data[STACK_LIMIT + PAGE_BYTES]; /* the verifier adds the largest position and the largest piece */
};

_Static_assert(sizeof(struct stack) == SIZE_STACK + STACK_LIMIT + PAGE_BYTES, "stack");
#endif

_Static_assert(sizeof(struct sent) == SIZE_SENT, "sent");
_Static_assert(sizeof(struct eventfd) == SIZE_EVENTFD, "eventfd");
_Static_assert(sizeof(struct passed) == SIZE_PASSED + FD_LIMIT * SIZE_PASSED_FD, "passed");
_Static_assert(sizeof(struct opened) == SIZE_OPENED, "opened");
_Static_assert(sizeof(struct done) == SIZE_DONE, "done");
_Static_assert(sizeof(struct closed) == SIZE_CLOSED, "closed");
_Static_assert(sizeof(struct exited) == SIZE_EXITED, "exited");
_Static_assert(sizeof(struct entry) == SIZE_ENTRY, "entry");

/* Where the bytes and the control messages of a send are. */
struct source {
	u64 base, segments, skip, length, control, control_length;
	u8 user; /* the segment array and the control messages are in user memory */
	u8 kernel_data; /* the segments point into kernel memory */
	u8 single; /* base points at the bytes themselves */
	u8 opaque; /* pages, a pipe: length only */
};

/*
 * What is at work on one CPU. What a loop carries from one round to the next is here rather than in registers: the
 * verifier knows nothing of memory, so that every round looks the same to it and a thousand of them cost it little.
 */
struct scratch {
	struct source from;
	u64 position, total, stopped, rights;
	struct socket_key key;
	u64 id, time, sequence, lost, named, mmsg, mmsg_count;
	u64 registers; /* where those of user space are kept */
	u64 stacked;
	u32 call, tries; /* as a decision: how often it was judged, or FOLLOWED */
	/* Last: what is further off than 32 KiB takes three instructions to reach, not one. */
	struct sent sent;
	u8 data[2 * DATA_LIMIT]; /* twice: the verifier adds the largest position and the largest segment */
};

#endif
