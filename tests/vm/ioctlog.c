/*
 * LD_PRELOAD: a JSON line for each ioctl on a vhost or VDUSE device, with its argument before and after the call as hex.
 * What the probe is held to. The lines go to the file that $IOCTLOG names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void hex(char *out, const unsigned char *from, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sprintf(out + 2 * i, "%02x", from[i]);
	out[2 * count] = 0;
}

static size_t extent(unsigned long request, const void *argument)
{
	size_t count = _IOC_SIZE(request);
	if (!argument || !count)
		return 0;
	if ((request & 0xffff) == 0xaf03)
		count = 8 + 32 * (size_t) * (const uint32_t *)argument;
	if ((request & 0xffff) == 0xaf73 || (request & 0xffff) == 0xaf74)
		count = 8 + (size_t)((const uint32_t *)argument)[1];
	if ((request & 0xffff) == 0x8102)
		count = 336 + (size_t)((const uint32_t *)argument)[83];
	return count > 4096 ? 4096 : count;
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, ...);
	static int log = -1;
	char before[8200] = "", after[8200] = "", line[17000];
	va_list list;
	va_start(list, request);
	void *argument = va_arg(list, void *);
	va_end(list);
	if (!real)
		real = dlsym(RTLD_NEXT, "ioctl");
	if (_IOC_TYPE(request) != 0xAF && _IOC_TYPE(request) != 0x81)
		return real(fd, request, argument);
	size_t count = extent(request, argument);
	hex(before, argument, count);
	int result = real(fd, request, argument), error = errno;
	if (_IOC_DIR(request) & _IOC_READ)
		hex(after, argument, count);
	if (log < 0)
		log = open(getenv("IOCTLOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int length = snprintf(line, sizeof(line),
			      "{\"fd\":%d,\"request\":%lu,\"given\":\"%s\",\"back\":\"%s\",\"result\":%d,\"errno\":%d}\n", fd,
			      request & 0xffffffff, _IOC_DIR(request) & _IOC_WRITE ? before : "", after, result,
			      result < 0 ? error : 0);
	if (syscall(SYS_write, log, line, (size_t)length) < 0)
		log = -1;
	errno = error;
	return result;
}
