/*
 * For user-mode Linux before 6.14 on processors with AMX: it keeps 2696 bytes of floating-point state for each process,
 * and the kernel takes back no fewer than the processor has, so that its first process dies. Loaded by LD_PRELOAD, this
 * gives the kernel what is missing as the kernel has it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

long ptrace(enum __ptrace_request request, ...)
{
	static long (*real)(enum __ptrace_request, int, void *, void *);
	static char state[1 << 16] __attribute__((aligned(64)));
	va_list arguments;
	va_start(arguments, request);
	int pid = va_arg(arguments, int);
	void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
	va_end(arguments);
	if (!real)
		real = dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
		struct iovec *given = data, whole = { state, sizeof state };
		if (real(PTRACE_GETREGSET, pid, address, &whole) == 0 && given->iov_len < whole.iov_len) {
			memcpy(state, given->iov_base, given->iov_len);
			return real(request, pid, address, &whole);
		}
	}
	return real(request, pid, address, data);
}
