/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc takes a tree for kernel headers if this file is there. Without CONFIG_BPF_SYSCALL its own header stops. */
#define CONFIG_BPF_SYSCALL 1
