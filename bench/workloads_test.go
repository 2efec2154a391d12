package main

import (
	"bufio"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/peer"
	"github.com/bulkhead-mcp/bulkhead/bench/workload"
)

// TestClientsAgree carries a plan of each shape out at the upstream itself: what
// a client does itself has the same results in each way. The batch is measured
// against that in e2e, with the real binary.
func TestClientsAgree(t *testing.T) {
	in, stop := io.Pipe()
	out, says := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- peer.Run(t.Context(), []string{"http"}, in, says) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	session, err := openHTTP(t.Context(), newClient(), "http://"+strings.TrimSpace(line)+"/work/mcp", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, shape := range workload.Shapes() {
		p := shape.Draw(0, 200)
		for mode := range workload.Batch {
			run, err := workload.Modes()[mode].Do(t.Context(), asks(session), &p, 1)
			if err != nil {
				t.Fatalf("%s: %v", shape.Name, err)
			}
			if least := p.Critical(run.Took()); run.Wall < least {
				t.Errorf("%s: %v is less than possible, %v", shape.Name, run.Wall, least)
			}
		}
	}
	session.close()
	stop.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDrawnPlansInRows(t *testing.T) {
	d := &drawn{calls: []float64{2, 3}, best: []float64{1.2}, chance: []float64{1.3}}
	for mode := range d.wall {
		d.wall[mode] = []float64{4, 2}
		d.turns[mode] = []float64{2, 2}
		d.ratio[mode] = []float64{1.01, 1.03}
	}
	d.wall[workload.Sequential], d.turns[workload.Sequential] = []float64{16, 2}, []float64{3, 4}
	plain, limited := workload.Shape{Name: "plain"}, workload.Shape{Name: "limited", Limit: workload.Limit{Slots: 2}}
	want := "plain|2.5|9.00|3.00|3.00|3.00|3.00 (1.00–4.00)|1.02 (1.01–1.03)||"
	if got := strings.Join(d.alone(plain), "|"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if row := d.alone(limited); row[len(row)-2] != "1.20 (1.20–1.20)" || row[len(row)-1] != "1.30 (1.30–1.30)" {
		t.Errorf("%q", row)
	}
	want = "plain|3.5, 2, 2, 2|14.2|6.00|6.00|6.00|2.38 (1.60–2.93)|1.00 (1.00–1.00)"
	if got := strings.Join(d.withTurns(plain), "|"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if g := d.goal(plain); !g.Met() || g.Limit != planLimit {
		t.Errorf("%+v", g)
	}
}

// TestJudgeOfACrowd: waits are in turns of the source, and the busy session is
// compared with a source whose places are never empty.
func TestJudgeOfACrowd(t *testing.T) {
	run := func(wall time.Duration, at int64, took ...time.Duration) *workload.Run {
		r := &workload.Run{Wall: wall}
		for i, d := range took {
			r.Calls = append(r.Calls, workload.Outcome{Took: d, Begun: at + int64(i)})
		}
		return r
	}
	const s = time.Second
	queued := run(3*s, 1, s, s, s, s, s, s, s, s) // eight places: one second, and another for those of the light ones
	var runs [4][]*workload.Run
	for mode := range runs {
		runs[mode] = []*workload.Run{run(5*s, 100+10*int64(mode), s, s)}
	}
	got := judge(queued, runs)
	turn := float64(lights+1) / busyPlaces
	if got.used != 1.5 {
		t.Errorf("used %v", got.used)
	}
	for mode, own := range [4]float64{2, 1, 1, 1} {
		if want := (5 - own) / turn; math.Abs(got.waits[mode][0]-want) > 1e-9 || got.walls[mode][0] != 5000 {
			t.Errorf("mode %d: %v turns, want %v", mode, got.waits[mode], want)
		}
	}
}
