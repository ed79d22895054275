package auth_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// A new key is taken at its first token; one that is withdrawn, no more.
func TestKeyRotated(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	before := f.idp.Issue(t, good())
	if a := f.token(t, before); a.status != 200 {
		t.Fatalf("before: %d %s", a.status, a.body)
	}
	f.idp.Rotate(t)
	after := f.idp.Issue(t, good())
	if a := f.token(t, after); a.status != 200 {
		t.Errorf("a token of the new key: %d %s", a.status, a.body)
	}
	if a := f.token(t, before); a.status != 401 {
		t.Errorf("a token of the withdrawn key: %d %s", a.status, a.body)
	}
}

// A withdrawn key is forgotten although nobody shows a new one.
func TestKeyWithdrawn(t *testing.T) {
	t.Parallel()
	f := start(t, func(o *auth.Options) { o.KeysEvery = 50 * time.Millisecond }).run(t).ready(t)
	before := f.idp.Issue(t, good())
	f.idp.Rotate(t)
	testenv.Eventually(t, func() error {
		if a := f.token(t, before); a.status != 401 {
			return errors.New(a.body)
		}
		return nil
	})
}

// Tokens do not become requests to the provider: neither good ones, nor those
// that name keys which do not exist.
func TestKeysAreKept(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	ok := f.idp.Issue(t, good())
	begun, keys := time.Now(), f.idp.Asked("/keys")
	for range 5 {
		f.token(t, ok[:len(ok)-8]+"AAAAAAAA")
	}
	if n := f.idp.Asked("/keys") - keys; n != 0 {
		t.Errorf("bad signatures by a known key made %d requests for keys", n)
	}
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			for range 3 {
				f.token(t, ok)
				f.token(t, ok[:len(ok)-8]+"AAAAAAAA")
			}
			f.token(t, encode(t, map[string]any{"alg": "RS256", "kid": strconv.Itoa(i)})+".e30.AAAA")
		})
	}
	wg.Wait()
	limit := 4 + int(time.Since(begun)/time.Second)
	if n := f.idp.Asked("/keys") - keys; n > limit {
		t.Errorf("210 tokens made %d requests for keys, want at most %d", n, limit)
	}
}

// The provider is away at the start: only the API and the login are.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	f.idp.SetDown(true)
	f.run(t)
	for _, tt := range []struct {
		path   string
		header []string
		status int
	}{
		{"/api/runs", []string{"Authorization", "Bearer a.b.c"}, http.StatusServiceUnavailable},
		{"/api/runs", nil, http.StatusUnauthorized},
		{"/login", nil, http.StatusServiceUnavailable},
		{"/login/start", nil, http.StatusServiceUnavailable},
	} {
		a := f.get(t, tt.path, tt.header...)
		if a.status != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.path, a.status, a.body, tt.status)
		}
		if tt.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "1" {
			t.Errorf("%s: Retry-After = %q", tt.path, a.header.Get("Retry-After"))
		}
	}
	testenv.Eventually(t, func() error {
		if err := f.auth.Check(t.Context()); err == nil || errors.Is(err, auth.ErrUnavailable) {
			return errors.New("not tried yet")
		}
		return nil
	})
	f.idp.SetDown(false)
	back := time.Now()
	f.ready(t)
	if a := f.token(t, f.idp.Issue(t, good())); a.status != 200 {
		t.Errorf("after it is back: %d %s", a.status, a.body)
	}
	t.Logf("recovered after %v", time.Since(back))
	if n := strings.Count(f.log.String(), "cannot be used"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, f.log)
	}
	if !strings.Contains(f.log.String(), "the identity provider answers") {
		t.Errorf("the recovery is not logged:\n%s", f.log)
	}
}

// A provider that goes away later takes nothing that is known with it; a token
// of a new key cannot be judged.
func TestProviderLost(t *testing.T) {
	t.Parallel()
	f := start(t, func(o *auth.Options) { o.KeysEvery = 50 * time.Millisecond }).run(t).ready(t)
	before := f.idp.Issue(t, good())
	f.idp.Rotate(t)
	after := f.idp.Issue(t, good())
	f.idp.SetDown(true)
	// Whichever key is known by now stays known; the other is not judged.
	testenv.Eventually(t, func() error {
		if f.auth.Check(t.Context()) == nil {
			return errors.New("not noticed yet")
		}
		return nil
	})
	statuses := map[int]int{}
	for _, token := range []string{before, after} {
		statuses[f.token(t, token).status]++
	}
	if statuses[200] != 1 || statuses[503] != 1 {
		t.Errorf("answers = %v, want one 200 and one 503", statuses)
	}
}

// A provider that calls itself otherwise is not used, and the advice says what
// to set.
func TestIssuerMismatch(t *testing.T) {
	t.Parallel()
	f := start(t, func(o *auth.Options) { o.Issuer = strings.TrimSuffix(o.Issuer, "/") }).run(t)
	testenv.Eventually(t, func() error {
		if !strings.Contains(f.log.String(), "set auth.issuer to exactly that") {
			return errors.New(f.log.String())
		}
		return nil
	})
	if err := f.auth.Check(t.Context()); err == nil || !strings.Contains(err.Error(), f.idp.Issuer()) {
		t.Errorf("check = %v", err)
	}
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	if err := f.auth.Run(context.Background()); !errors.Is(err, auth.ErrRunning) {
		t.Errorf("second Run = %v", err)
	}
}
