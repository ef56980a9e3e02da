/*
 * LD_PRELOAD: a JSON line for each ioctl on a vhost or VDUSE device, with its argument before and after the call as hex,
 * and for what is written to one and read from it (request 0). What the probe is held to. The lines go to the file that
 * $IOCTLOG names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
	if ((request & 0xffff) == 0xaf73 || (request & 0xffff) == 0xaf74 || (request & 0xffff) == 0x8112)
		count = 8 + (size_t)((const uint32_t *)argument)[1];
	if ((request & 0xffff) == 0x8102)
		count = 336 + (size_t)((const uint32_t *)argument)[83];
	return count > 4096 ? 4096 : count;
}

static void say(int fd, unsigned long request, const char *given, const char *back, long result, int error)
{
	static int log = -1;
	char line[17000];
	if (log < 0)
		log = open(getenv("IOCTLOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int length = snprintf(line, sizeof(line),
			      "{\"fd\":%d,\"request\":%lu,\"given\":\"%s\",\"back\":\"%s\",\"result\":%ld,\"errno\":%d}\n",
			      fd, request & 0xffffffff, given, back, result, result < 0 ? error : 0);
	if (syscall(SYS_write, log, line, (size_t)length) < 0)
		log = -1;
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, ...);
	char before[8200] = "", after[8200] = "";
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
	say(fd, request, _IOC_DIR(request) & _IOC_WRITE ? before : "", after, result, error);
	errno = error;
	return result;
}

static int is_device(int fd)
{
	char link[40], path[20] = "";
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, path, sizeof(path) - 1) > 0 &&
	       (!strncmp(path, "/dev/vhost-", 11) || !strncmp(path, "/dev/vduse/", 11));
}

ssize_t write(int fd, const void *data, size_t size)
{
	char given[8200];
	ssize_t result = syscall(SYS_write, fd, data, size);
	int error = errno;
	if (size <= 4096 && is_device(fd)) {
		hex(given, data, size);
		say(fd, 0, given, "", result, error);
	}
	errno = error;
	return result;
}

ssize_t read(int fd, void *data, size_t size)
{
	char back[8200];
	ssize_t result = syscall(SYS_read, fd, data, size);
	int error = errno;
	if (result > 0 && result <= 4096 && is_device(fd)) {
		hex(back, data, result);
		say(fd, 0, "", back, result, error);
	}
	errno = error;
	return result;
}
