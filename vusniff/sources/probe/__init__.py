"""Records running peers by an eBPF program, without touching them. Start reading in `probe`."""
