package credentials_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// directory is a store as plain as can be, that processes share.
type directory string

type plain struct {
	Access, Refresh string
	Expiry          time.Time
}

func (d directory) Load(context.Context, string) (credentials.Token, error) {
	data, err := os.ReadFile(filepath.Join(string(d), "token"))
	if errors.Is(err, os.ErrNotExist) {
		return credentials.Token{}, credentials.ErrNoToken
	}
	var p plain
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	return credentials.Token{Access: credentials.NewSecret(p.Access), Refresh: credentials.NewSecret(p.Refresh), Expiry: p.Expiry}, err
}

func (d directory) Save(_ context.Context, _ string, t credentials.Token) error {
	data, err := json.Marshal(plain{credentials.Reveal(t.Access), credentials.Reveal(t.Refresh), t.Expiry})
	if err != nil {
		return err
	}
	temporary := filepath.Join(string(d), fmt.Sprint("new-", os.Getpid()))
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(string(d), "token"))
}

func (d directory) Delete(context.Context, string) error {
	return os.Remove(filepath.Join(string(d), "token"))
}

func (d directory) Lock(ctx context.Context, _ string) (func(), error) {
	path := filepath.Join(string(d), "lock")
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return func() { _ = os.Remove(path) }, f.Close()
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// rotate is one of several processes: for some seconds it asks issuer who it is,
// with the token that it shares with the others.
func rotate(issuer, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	e := &credentials.Endpoint{Name: "crm", URL: issuer + "/token", Client: &http.Client{Transport: &http.Transport{}}, ClientID: "app"}
	src := credentials.NewRefresher(credentials.SourceSpec{Name: "crm", ID: "crm-1", Fetch: credentials.RefreshToken(e, nil), Store: directory(dir)})
	g, err := credentials.NewGrant(credentials.Spec{Name: "crm", Origins: []string{issuer}, Attach: credentials.BearerFrom(src)})
	if err != nil {
		return err
	}
	client := g.Client(&http.Transport{})
	for n := 0; ; n++ {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, issuer+"/me", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("call %d: %w", n, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("call %d: %s %w", n, resp.Status, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			src.Close(context.Background())
			return nil
		}
	}
}

// Processes that share one rotating token use each refresh token once between
// them, or the server would end the family.
func TestProviderManyProcesses(t *testing.T) {
	t.Parallel()
	p := newProvider(t, 1)
	dir := t.TempDir()
	first := p.login(t, p.endpoint(t, "app", credentials.PublicClient()), "openid")
	if err := directory(dir).Save(t.Context(), "", first); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if out, err := exec.Command(self(t), "child", "rotate", p.issuer, dir).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	if last, err := directory(dir).Load(t.Context(), ""); err != nil || credentials.Reveal(last.Refresh) == credentials.Reveal(first.Refresh) {
		t.Errorf("nothing was refreshed: %v", err)
	}
}
