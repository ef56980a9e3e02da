"""vhost in the kernel: the calls on /dev/vhost-*, /dev/vhost-vdpa-* and /dev/vduse/* as messages of one device.

It owns the numbers of the calls, the header that a call has in a capture, what a call does to the same `DeviceState` as
vhost-user's messages, and the phases. It must not know sources, files, views or layouts: those arrive with the
dissectors (`vusniff_dissectors.kernel`). Start reading at `protocol`, then at `family`.

A call is one message: what was asked, the result, and the bytes that were given or came back. The process that opened
the device is the front-end and the kernel the back-end; on a VDUSE device the process is the back-end.
"""
