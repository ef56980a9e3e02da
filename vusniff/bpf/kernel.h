/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How to find things in kernel structures without their declarations: O_* are offsets in the running kernel
 * (vusniff/bpf/offsets.py). Whatever cannot be read is 0.
 */
#ifndef VUSNIFF_KERNEL_H
#define VUSNIFF_KERNEL_H

#define S_TYPE 0170000
#define S_SOCKET 0140000
#define UNIX_FAMILY 1
#define STREAM_TYPE 1
#define SOCKET_LEVEL 1
#define RIGHTS_TYPE 1
#define PROCESS_EXITING 4 /* PF_EXITING */
#define KERNEL_THREAD 0x200010 /* PF_KTHREAD, PF_IO_WORKER */
#define COMPAT_CALL 2 /* TS_COMPAT of thread_info.status on x86: a 32-bit call, its numbers mean other calls */

/* Whether a system call may make a copy of a descriptor: fcntl(2) does with F_DUPFD, and other uses of it are rare. */
#define IS_DUP(call) ((call) == NR_DUP || (call) == NR_DUP2 || (call) == NR_DUP3 || (call) == NR_FCNTL)

#define HIDE(value) asm volatile("" : "+r"(value))

/*
 * In an fentry program the kernel knows the types of the arguments and of what they point to, so that members can be
 * read with one instruction instead of fifty. The assembler keeps bcc from turning it into the fifty.
 */
#ifdef MODE_FENTRY
#define PEEK(type, pointer, offset)                                                                                    \
	({                                                                                                             \
		u64 peeked;                                                                                            \
		asm volatile("%0 = *(" #type " *)(%1 + %2)" : "=r"(peeked) : "r"(pointer), "i"(offset));               \
		peeked;                                                                                                \
	})
#define PEEK8(pointer, offset) PEEK(u64, pointer, offset)
#else
#define PEEK8(pointer, offset) load8((pointer) + (offset))
#endif

static __always_inline u64 load8(u64 at)
{
	u64 value = 0;
	bpf_probe_read_kernel(&value, 8, (void *)at);
	return value;
}

static __always_inline u32 load4(u64 at)
{
	u32 value = 0;
	bpf_probe_read_kernel(&value, 4, (void *)at);
	return value;
}

static __always_inline u16 load2(u64 at)
{
	u16 value = 0;
	bpf_probe_read_kernel(&value, 2, (void *)at);
	return value;
}

static __always_inline int load(void *to, u64 size, u64 from, int user)
{
	return user ? bpf_probe_read_user(to, size, (void *)from) : bpf_probe_read_kernel(to, size, (void *)from);
}

/* struct socket lies next to its inode in struct socket_alloc. */
static __always_inline u64 socket_inode(u64 socket)
{
	return socket ? load8(socket - O_ALLOC_SOCKET + O_ALLOC_INODE + O_INODE_NUMBER) : 0;
}

/* A connection that is not accepted yet has no struct socket: inode 0. */
static __always_inline struct socket_key key_of(u64 sock)
{
	struct socket_key key = {};
	key.sock = sock;
	if (sock)
		key.inode = socket_inode(load8(sock + O_SK_SOCKET));
	return key;
}

static __always_inline u64 file_of(s32 fd)
{
	u64 table = load8(load8(bpf_get_current_task() + O_TASK_FILES) + O_FILES_TABLE), found[2] = {};
#if O_TABLE_FILES == O_TABLE_SIZE + 8
	load(found, 16, table + O_TABLE_SIZE, 0); /* side by side: one read costs half of two */
#else
	found[0] = load4(table + O_TABLE_SIZE);
	found[1] = load8(table + O_TABLE_FILES);
#endif
	if (fd < 0 || (u32)fd >= (u32)found[0])
		return 0;
	return load8(found[1] + 8ULL * (u32)fd);
}

static __always_inline u64 socket_of(u64 file)
{
	if (!file || (load2(load8(file + O_FILE_INODE) + O_INODE_MODE) & S_TYPE) != S_SOCKET)
		return 0;
	return load8(file + O_FILE_PRIVATE);
}

static __always_inline int is_unix(u64 sock)
{
	return load2(sock + O_SK_FAMILY) == UNIX_FAMILY;
}

static __always_inline int is_stream(u64 socket)
{
	return load2(socket + O_SOCKET_TYPE) == STREAM_TYPE;
}

static __always_inline u16 copy_path(char *to, u64 sock)
{
	u64 address = sock ? load8(sock + O_UNIX_ADDR) : 0;
	if (!address)
		return 0;
	u64 length = load4(address + O_ADDR_LEN);
	if (length < 3)
		return 0;
	length -= 2;
	HIDE(length);
	if (length > PATH_LIMIT)
		length = PATH_LIMIT;
	bpf_probe_read_kernel(to, length, (void *)(address + O_ADDR_NAME + 2));
	return length;
}

/* What a descriptor is. */
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

#endif
