/* SPDX-License-Identifier: GPL-2.0-only */
/* Empty: bcc's built-in header asks for it, the probe needs nothing of it. */
