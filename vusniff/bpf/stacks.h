/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The call stack of the thread that runs: its registers, and what its stack holds. Part of probe.c and of calls.c, put
 * into their text by vusniff/bpf/load.py: bcc sees maps only there. Needs STACK_LIMIT.
 */

/* A ring of their own: a flood loses stacks, and no message. */
BPF_RINGBUF_OUTPUT(stacks, STACK_PAGES);

/*
 * Hands over the stack with the registers of user space that are kept at an address, under the thread and a time; false
 * when there is no room. Page by page: where one cannot be read, the stack ends, or the page is not resident.
 */
static __always_inline int take_stack(u64 registers, u64 id, u64 time)
{
	u64 at = 0;
	struct stack *r = stacks.ringbuf_reserve(sizeof(struct stack));
	if (!r)
		return 0;
	r->kind = STACK;
	r->flags = load4(bpf_get_current_task() + O_TASK_FLAGS) & KERNEL_THREAD ? NO_STACK : 0;
	r->call = 0;
	r->tid = id;
	r->tgid = id >> 32;
	r->time = time;
	bpf_probe_read_kernel(r->registers, sizeof(r->registers), (void *)registers);
	u64 stack = r->registers[O_REG_SP / 8];
	for (u32 i = 0; i <= STACK_LIMIT / PAGE_BYTES && !r->flags; i++) {
		u64 size = PAGE_BYTES - ((stack + at) & (PAGE_BYTES - 1));
		HIDE(at);
		if (at >= STACK_LIMIT)
			break;
		if (size > STACK_LIMIT - at)
			size = STACK_LIMIT - at;
		HIDE(size);
		if (size > PAGE_BYTES)
			break;
		if (bpf_probe_read_user(&r->data[at], size, (void *)(stack + at)))
			break;
		at += size;
	}
	r->captured = at;
	stacks.ringbuf_submit(r, NO_WAKEUP);
	return 1;
}
