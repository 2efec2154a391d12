package bearer

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

// Beyond the bound the tokens that are not used are forgotten, and none that is.
func TestMemoryIsBounded(t *testing.T) {
	var k known
	now := time.Now()
	sum := func(n int) [sha256.Size]byte { return sha256.Sum256([]byte(fmt.Sprint(n))) }
	for n := range 10 * maxKnown {
		k.put(sum(n), &good{again: now.Add(time.Minute)})
		if k.get(sum(0), now) == nil {
			t.Fatalf("a token that is used is forgotten after %d others", n)
		}
		if all := len(k.young) + len(k.old); all > 2*maxKnown {
			t.Fatalf("%d tokens are remembered", all)
		}
	}
	if k.get(sum(1), now) != nil {
		t.Error("a token that is not used is still known")
	}
	if k.get(sum(10*maxKnown-1), now.Add(time.Minute)) != nil {
		t.Error("a token is known when it has to be verified again")
	}
}
