"""The vfio-user family: a whole PCI device in another process, told by the messages between client and server.

It owns the header, the two channels, how commands and replies are paired, the device's state and its phases, and how
that state is shown as plain tables. It must not know sources, files, views or layouts: those arrive with the dissectors
(`vusniff_dissectors.vfio_user`). Start reading at `family`, which is the row that the rest of the program sees.

In JSON and filters the client is the front-end and the server the back-end, as the client sits where QEMU does.
"""
