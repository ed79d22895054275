package server

import "syscall"

// errAddrInUse is WSAEADDRINUSE, which Go's syscall.EADDRINUSE is not on
// Windows.
const errAddrInUse = syscall.Errno(10048)
