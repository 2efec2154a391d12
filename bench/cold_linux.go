package main

import (
	"io"
	"os"
	"syscall"
)

// coldCopy copies a program, so that no page of the copy is in memory: they come as
// they are touched, as at the first start after the system's. How pages came decides
// how many a process has, for what was written or read in large pieces is mapped in
// large pieces, touched or not (large folios, from Linux 6.18 on whole ones): of one
// and the same program 20 or 29 MiB.
func coldCopy(from, to string) error {
	const dontNeed = 4 // POSIX_FADV_DONTNEED; pages that a process has stay, hence the copy
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // read only
	dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Sync() // what is not written yet stays too
	}
	if err == nil {
		if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, dst.Fd(), 0, 0, dontNeed, 0, 0); errno != 0 {
			err = os.NewSyscallError("fadvise64", errno)
		}
	}
	if closed := dst.Close(); err == nil {
		err = closed
	}
	return err
}
