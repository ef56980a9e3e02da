/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc stores a version in every program; kernels since 5.0 do not look at it. */
#ifndef LINUX_VERSION_CODE
#define LINUX_VERSION_CODE 0
#endif
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
