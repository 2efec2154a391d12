package inbound

import (
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// The secret of a connection is good for its own principal and endpoint only.
func TestEventConnIsBound(t *testing.T) {
	conns := newEventConns()
	c := &eventConn{conn: &conn{session: &session{principal: upstream.Local()}}, upstream: "crm"}
	secret := conns.add(c)
	if conns.find(secret, "crm", upstream.Local()) != c {
		t.Error("not found")
	}
	if conns.find(secret, "crm", upstream.Principal{}) != nil || conns.find(secret, "", upstream.Local()) != nil {
		t.Error("found by another principal or at another endpoint")
	}
	conns.remove(secret)
	if conns.find(secret, "crm", upstream.Local()) != nil {
		t.Error("found after its end")
	}
}

func TestEventConnsAreBounded(t *testing.T) {
	conns := newEventConns()
	for range maxEventConns {
		if conns.add(nil) == "" {
			t.Fatal("refused")
		}
	}
	if conns.add(nil) != "" {
		t.Fatal("not refused")
	}
}
