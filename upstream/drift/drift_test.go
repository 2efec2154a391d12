package drift_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/drift"
)

// told is what is remembered, in one line.
func told(k *drift.Known) string {
	var all []string
	for _, d := range k.List() {
		all = append(all, strings.Trim(d.Tool+" "+d.Field+" "+d.Problem, " "))
	}
	return strings.Join(all, "; ")
}

func of(tool, field string) drift.Difference {
	return drift.Difference{Tool: tool, Field: field, Problem: "is gone"}
}

// A difference is remembered once, since it was seen at first, until it ends; it is
// logged when it begins, but not again within an hour.
func TestNoteAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := drift.New(20, 0)
		began := time.Now()
		end := func() { k.End(func(d drift.Difference) bool { return d.Field == "a" }) }
		for i, c := range []struct {
			ends      bool
			wait      time.Duration // before
			log       bool
			remembers string
		}{
			{false, 0, true, "x a is gone"},
			{false, 2 * time.Hour, false, "x a is gone"}, // still the same
			{true, 0, false, ""},
			{false, 0, true, "x a is gone"}, // which was logged two hours ago
			{true, 0, false, ""},
			{false, time.Hour - 1, false, "x a is gone"},
			{true, 0, false, ""},
			{false, 1, true, "x a is gone"}, // the hour is that of the log, not of the end
		} {
			time.Sleep(c.wait)
			log := false
			if c.ends {
				end()
			} else {
				log = k.Note(of("x", "a"))
			}
			if got := told(k); log != c.log || got != c.remembers || k.Any() != (got != "") {
				t.Errorf("%d: logged %t, remembers %q, any %t", i, log, got, k.Any())
			}
			if i == 1 && !k.List()[0].Since.Equal(began) {
				t.Error("it is told to have begun later than it was seen")
			}
		}
	})
}

// What is set for a tool ends what else there was of it, and of no other.
func TestSet(t *testing.T) {
	k := drift.New(20, time.Hour)
	for i, c := range []struct {
		tool       string
		found      []drift.Difference
		logs, want string
	}{
		{"x", []drift.Difference{of("x", "a"), of("x", "b")}, "a b", "x a is gone; x b is gone"},
		{"y", []drift.Difference{of("y", "a")}, "a", "x a is gone; x b is gone; y a is gone"},
		{"x", []drift.Difference{of("x", "b"), of("x", "c")}, "c", "x b is gone; y a is gone; x c is gone"},
		{"x", nil, "", "y a is gone"},
		{"x", []drift.Difference{of("x", "a")}, "", "y a is gone; x a is gone"}, // logged a moment ago
	} {
		var logs []string
		for _, d := range k.Set(c.tool, c.found) {
			logs = append(logs, d.Field)
		}
		if strings.Join(logs, " ") != c.logs || told(k) != c.want {
			t.Errorf("%d: logs %q, remembers %q", i, logs, told(k))
		}
	}
}

// What is not seen any longer is forgotten after its time, and seeing it renews that.
func TestLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := drift.New(20, 30*time.Minute)
		k.Note(of("x", "a"))
		k.Note(of("x", "b"))
		time.Sleep(20 * time.Minute)
		if k.Note(of("x", "b")) {
			t.Error("it is logged though it has not begun anew")
		}
		time.Sleep(10 * time.Minute)
		if got := told(k); got != "x a is gone; x b is gone" {
			t.Errorf("at its last moment: %q", got)
		}
		time.Sleep(time.Nanosecond)
		if got := told(k); got != "x b is gone" {
			t.Errorf("after it: %q", got)
		}
		time.Sleep(time.Hour)
		if !k.Note(of("x", "b")) || len(k.List()) != 1 || time.Since(k.List()[0].Since) != 0 {
			t.Errorf("what comes anew after an hour is %+v", k.List())
		}
	})
}

// Why something is so is told, and makes no other difference of it.
func TestWhy(t *testing.T) {
	k := drift.New(20, 0)
	for i, why := range []string{"one", "two"} {
		if log := k.Note(drift.Difference{Tool: "x", Problem: "is refused", Why: why}); log != (i == 0) || told(k) != "x  is refused: one" {
			t.Errorf("%s: logged %t, remembers %q", why, log, told(k))
		}
	}
	k.Set("x", nil)
	if k.Note(drift.Difference{Tool: "x", Problem: "is refused", Why: "two"}) || told(k) != "x  is refused: two" {
		t.Errorf("it is logged for its other reason, or remembers %q", told(k))
	}
}

// However much is different, only so much is remembered and logged.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := drift.New(2, 0)
		for _, f := range []string{"a", "b", "c"} {
			if log := k.Note(of("x", f)); log != (f != "c") {
				t.Errorf("%s: logged %t", f, log)
			}
		}
		if told(k) != "x a is gone; x b is gone" {
			t.Errorf("remembers %q", told(k))
		}
		logged := 0
		for i := range 100 {
			logged += len(k.Set("x", []drift.Difference{of("x", fmt.Sprint(i))}))
		}
		if logged != 8 || told(k) != "x 99 is gone" { // of ten in an hour, two were above
			t.Errorf("logged %d, remembers %q", logged, told(k))
		}
		time.Sleep(time.Hour)
		if len(k.Set("x", []drift.Difference{of("x", "new")})) != 1 {
			t.Error("after an hour nothing is logged")
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	k := drift.New(20, time.Hour)
	var all sync.WaitGroup
	var mu sync.Mutex
	var logged []string
	for range 20 {
		all.Go(func() {
			for i := range 10 {
				if k.Note(of("x", fmt.Sprint(i))) {
					mu.Lock()
					logged = append(logged, fmt.Sprint(i))
					mu.Unlock()
				}
				k.List()
				k.End(func(d drift.Difference) bool { return d.Field == "0" })
			}
		})
	}
	all.Wait()
	slices.Sort(logged)
	if got := strings.Join(logged, ""); got != "0123456789" {
		t.Errorf("logged %q", got)
	}
}
