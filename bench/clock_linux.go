package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// cpuOf returns the processor time that all threads of a process have used, the
// ended ones included. The kernel numbers a process's clock by its id
// (clock_getcpuclockid(3)), and counts in nanoseconds, where proc(5) has ticks
// of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED, for the whole process
	var ts syscall.Timespec
	clock := int32(^pid<<3 | scheduled)
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// kibOf returns what the system says of a process's memory, in KiB: VmRSS is what
// is resident, VmHWM its peak, RssAnon and RssFile are parts of it (proc(5),
// status).
func kibOf(pid int, name string) (float64, error) {
	value, err := field(filepath.Join("/proc", strconv.Itoa(pid), "status"), name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSuffix(value, " kB"), 64)
}

// processor returns what the processor calls itself.
func processor() string {
	name, err := field("/proc/cpuinfo", "model name")
	if err != nil {
		return "an unnamed processor"
	}
	return name
}

// field returns the first value of a name in a file of lines "name: value".
func field(path, name string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no line %q", path, name)
}
