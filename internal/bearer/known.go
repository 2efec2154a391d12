package bearer

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// verifyAgain is for how long a token is not verified again. It bounds how
	// long one goes on after its issuer has withdrawn the key.
	verifyAgain = 5 * time.Minute
	maxKnown    = 10_000 // tokens remembered in one generation, of which there are two
)

// known remembers which tokens are good, by their hash: the token itself is
// nowhere to be found. The zero value is ready for use.
type known struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte]*good
}

// get returns what is known of a token; nil if that is nothing, or no more.
func (k *known) get(sum [sha256.Size]byte, now time.Time) *good {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.young[sum]
	if g == nil {
		if g = k.old[sum]; g != nil {
			delete(k.old, sum)
			k.keep(sum, g)
		}
	}
	if g == nil || !now.Before(g.again) {
		return nil
	}
	return g
}

func (k *known) put(sum [sha256.Size]byte, g *good) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keep(sum, g)
}

// keep needs k.mu. When the young are many they are the old, and what was old and
// not asked for since is forgotten.
func (k *known) keep(sum [sha256.Size]byte, g *good) {
	if k.young == nil || len(k.young) >= maxKnown {
		k.young, k.old = make(map[[sha256.Size]byte]*good), k.young
	}
	k.young[sum] = g
}
