package gate

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// Bucket hands out the tokens of one quota. A bucket that is shared between
// replicas implements it as well as the local one.
type Bucket interface {
	// Take takes cost tokens and returns 0 if there are as many. If not it takes
	// none and returns how long it will be until there are. It fails where the
	// state of the quota cannot be had.
	Take(ctx context.Context, cost float64) (time.Duration, error)
	// Wait returns how long it will be until Take takes cost tokens; 0 if it does
	// now.
	Wait(cost float64) time.Duration
	// Freeze hands out nothing until then, because the upstream said so; it
	// never shortens an earlier freeze. After it the bucket fills from empty.
	Freeze(until time.Time)
	// Lower hands out at most left tokens until then, because the upstream says
	// that there are no more; it never makes more of them. Less than one freezes
	// the bucket, but the rate stays: to use a quota up is no fault.
	Lower(left float64, until time.Time)
	// State returns what is left.
	State() BucketState
}

// BucketState is what is left of a quota at one moment.
type BucketState struct {
	Tokens, Burst float64
	Rate          float64   // tokens a second, now
	Most          float64   // tokens a second, as configured
	Frozen        time.Time // nothing is handed out before; zero if not frozen
}

// localBucket is a token bucket: burst tokens at most, rate more a second, so
// in any window W no more than burst + rate·W are handed out. After a freeze it
// fills at half its rate and recovers within recovery.
type localBucket struct {
	mu     sync.Mutex
	most   float64 // tokens a second
	burst  float64
	tokens float64
	at     time.Time // when tokens was right
	frozen time.Time
	slow   float64   // share of the rate lost by freezes; from 0 to 1
	slowAt time.Time // when slow was right
	said   []allowance
}

// allowance is how much an upstream says that it gives until then. Of several, the
// one that ends first is the least: whatever is more and ends earlier says
// nothing.
type allowance struct {
	left  float64
	until time.Time
}

// maxAllowances is how many are remembered: one of each window that is counted.
const maxAllowances = 16

const (
	recovery   = time.Minute // for a rate that was halved to be whole again
	minShare   = 1.0 / 16    // of the rate that is left however often it was halved
	roundError = 1e-9        // tokens; sums of fractions do not come out even
)

// NewBucket returns a full local bucket of burst tokens, filled with rate
// tokens a second.
func NewBucket(rate, burst float64) Bucket {
	now := time.Now()
	return &localBucket{most: rate, burst: burst, tokens: burst, at: now, slowAt: now}
}

func (b *localBucket) Take(_ context.Context, cost float64) (time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.fill(now)
	if wait := b.lacking(now, cost); wait > 0 {
		return wait, nil
	}
	b.tokens -= cost
	for i := range b.said {
		if b.said[i].left -= cost; b.said[i].left < 1 {
			b.empty(b.said[i].until)
		}
	}
	return 0, nil
}

func (b *localBucket) Wait(cost float64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.fill(now)
	return b.lacking(now, cost)
}

// lacking returns how long it takes until there are cost tokens; 0 if there are.
// b.mu is held.
func (b *localBucket) lacking(now time.Time, cost float64) time.Duration {
	if wait := b.frozen.Sub(now); wait > 0 {
		return wait + b.until(cost)
	}
	wait := time.Duration(0)
	for _, a := range b.said {
		if a.left+roundError < cost {
			wait = a.until.Sub(now)
		}
	}
	if b.tokens+roundError < cost {
		wait = max(wait, b.until(cost))
	}
	return wait
}

// empty hands out nothing until then. b.mu is held.
func (b *localBucket) empty(until time.Time) {
	b.tokens = 0
	if until.After(b.frozen) {
		b.frozen = until
	}
}

// until returns how long it takes to collect cost tokens, at least a
// microsecond: a wait of nothing would be no wait. b.mu is held.
func (b *localBucket) until(cost float64) time.Duration {
	missing := max(cost-b.tokens, 0) / b.rate()
	return time.Duration(math.Ceil(min(missing, 1e6)*1e6)) * time.Microsecond
}

func (b *localBucket) rate() float64 { return b.most * max(1-b.slow, minShare) }

// fill adds what has come in since the last time. b.mu is held.
func (b *localBucket) fill(now time.Time) {
	from := b.at
	if from.Before(b.frozen) { // nothing comes in while it is frozen
		from = b.frozen
	}
	if dt := now.Sub(from).Seconds(); dt > 0 {
		// The lower rate of the time's beginning is used for all of it: the
		// bucket recovers a little late rather than early.
		b.tokens = min(b.tokens+dt*b.rate(), b.burst)
	}
	if now.After(b.at) {
		b.at = now
	}
	if from = b.slowAt; from.Before(b.frozen) {
		from = b.frozen
	}
	if dt := now.Sub(from); dt > 0 {
		b.slow = max(b.slow-dt.Seconds()/(2*recovery.Seconds()), 0)
		b.slowAt = now
	}
	b.said = slices.DeleteFunc(b.said, func(a allowance) bool { return !now.Before(a.until) })
}

func (b *localBucket) Lower(left float64, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.fill(now)
	b.tokens = min(b.tokens, left)
	if left < 1 {
		b.empty(until)
		return
	}
	i := 0 // where it stands by its end
	for ; i < len(b.said) && b.said[i].until.Before(until); i++ {
	}
	if !until.After(now) || i < len(b.said) && b.said[i].left <= left {
		return
	}
	first := i
	for first > 0 && b.said[first-1].left >= left {
		first--
	}
	if i < len(b.said) && b.said[i].until.Equal(until) {
		i++
	}
	b.said = slices.Replace(b.said, first, i, allowance{left, until})
	b.said = b.said[:min(len(b.said), maxAllowances)]
}

func (b *localBucket) Freeze(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.fill(now)
	if !b.frozen.After(now) { // a new one: what is under way may say it several times
		b.slow = min(b.slow+(1-b.slow)/2, 1-minShare)
		b.slowAt = now
	}
	b.empty(until)
}

func (b *localBucket) State() BucketState {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.fill(now)
	s := BucketState{Tokens: b.tokens, Burst: b.burst, Rate: b.rate(), Most: b.most}
	if len(b.said) > 0 {
		s.Tokens = min(s.Tokens, b.said[0].left)
	}
	if b.frozen.After(now) {
		s.Frozen = b.frozen
	}
	return s
}
