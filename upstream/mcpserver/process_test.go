//go:build linux

package mcpserver_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// keeper records what is tracked.
type keeper struct {
	mu      sync.Mutex
	tracked []int
	ever    int
}

func (k *keeper) Track(pgid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tracked = append(k.tracked, pgid)
	k.ever++
}

func (k *keeper) Untrack(pgid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tracked = slices.DeleteFunc(k.tracked, func(p int) bool { return p == pgid })
}

// gone reports whether a process has ended; a zombie that nobody reaps has.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

func TestCloseEndsDescendants(t *testing.T) {
	var log lockedBuffer
	k := &keeper{}
	o := quickly()
	o.Log, o.Keeper = slog.New(slog.NewTextHandler(&log, nil)), k
	a := newFake(t, "grandchildren", o)
	watch(t, a)
	wantText(t, a, "hi", "hi")
	number := regexp.MustCompile(`line=(\d+)`)
	var pids []int
	for len(pids) < 2 {
		pids = nil
		for _, m := range number.FindAllStringSubmatch(log.String(), -1) {
			pid, _ := strconv.Atoi(m[1])
			pids = append(pids, pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		for limit := time.Now().Add(hanging); !gone(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("process %d outlived its adapter", pid)
			}
		}
	}
	if k.ever != 1 || len(k.tracked) != 0 {
		t.Errorf("%d groups were tracked, %v are left", k.ever, k.tracked)
	}
}

func TestCloseEndsTheStubborn(t *testing.T) {
	t.Parallel()
	a := newFake(t, "ignores SIGTERM", quickly())
	watch(t, a)
	wantText(t, a, "hi", "hi")
	began := time.Now()
	_ = a.Close()
	if took := time.Since(began); took < 4*time.Second || took > 30*time.Second {
		t.Errorf("Close took %v, want the graces of 2 s and 3 s", took)
	}
}

func TestNoHandlesLeft(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	round := func() {
		a := newFake(t, "dies mid-call", quickly())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = a.Watch(context.Background(), upstream.Events{})
		}()
		wantText(t, a, "hi", "hi")
		_, err := call(t.Context(), a, "echo", `{"text":"die"}`)
		wantKind(t, err, upstream.Unavailable, true)
		wantText(t, a, "hi", "hi")
		_ = a.Close()
		<-done
	}
	round()
	before := count()
	for range 5 {
		round()
	}
	if after := count(); after > before {
		t.Errorf("%d handles became %d", before, after)
	}
}

func TestWatchContextEnds(t *testing.T) {
	a := newFake(t, "good", quickly())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Watch(ctx, upstream.Events{}) }()
	wantText(t, a, "hi", "hi")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Watch: %v", err)
	}
	_, err := call(t.Context(), a, "echo", `{}`)
	wantKind(t, err, upstream.Unavailable, false)
	_ = a.Close()
	if err := a.Watch(t.Context(), upstream.Events{}); err == nil {
		t.Error("a closed adapter can be watched")
	}
}
