package tests_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/config/vault"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

type settings struct {
	User     string
	Password config.Secret
}

// load makes a store of settings that are references to the secret at path.
func (s *server) load(r *vault.Resolver, path string) *config.Store[settings] {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "s.yaml")
	text := fmt.Sprintf("user: ref+vault://%s#user\npassword: ref+vault://%s#password\n", path, path)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	store, err := config.Load(s.t.Context(), settings{}, config.File(file), config.Resolve("vault", r))
	if err != nil {
		s.t.Fatal(err)
	}
	return store
}

// run follows the store until the end of the test.
func run(t *testing.T, store *config.Store[settings]) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func pair(n int) map[string]any {
	return map[string]any{"user": fmt.Sprintf("u%d", n), "password": fmt.Sprintf("canary-p%d", n)}
}

func (v settings) is(n int) bool {
	return v.User == fmt.Sprintf("u%d", n) && v.Password.Equal(secret.New(fmt.Sprintf("canary-p%d", n)))
}

// TestRotationByRefresh: a version 2 secret has no lease.
func TestRotationByRefresh(t *testing.T) {
	t.Parallel()
	s := newServer(t, request("POST", "secret/data/db", map[string]any{"data": pair(1)}))
	store := s.load(s.resolver(nil), "secret/data/db")
	told := 0
	stop := config.OnChange(store, func(v *settings) settings { return *v }, func(_, _ settings) { told++ })
	defer stop()
	s.api("POST", "secret/data/db", map[string]any{"data": pair(2)})
	if err := store.Reload(t.Context()); err != nil || !store.Get().is(1) {
		t.Errorf("after Reload: %+v, %v; want the value that is known", store.Get(), err)
	}
	if err := store.Refresh(t.Context()); err != nil || !store.Get().is(2) || told != 1 {
		t.Errorf("after Refresh: %+v, told %d times, %v; want the new value", store.Get(), told, err)
	}
}

// TestRotationByLease: a version 1 secret names a time to ask again.
func TestRotationByLease(t *testing.T) {
	t.Parallel()
	first, second := pair(1), pair(2)
	first["ttl"], second["ttl"] = "2s", "2s"
	s := newServer(t,
		request("POST", "sys/mounts/kv", map[string]any{"type": "kv"}),
		request("POST", "kv/db", first),
	)
	store := s.load(s.resolver(nil), "kv/db")
	run(t, store)
	s.api("POST", "kv/db", second)
	testenv.Eventually(t, func() error {
		v := store.Get()
		if !v.is(1) && !v.is(2) {
			t.Fatalf("user and password of two versions: %+v", v)
		}
		if !v.is(2) {
			return errors.New("the new value is not there")
		}
		return nil
	})
	if n := s.count("PUT sys/leases/renew"); n != 0 {
		t.Errorf("%d renewals of a lease that does not exist", n)
	}
}

// TestLeaseIsRenewed follows a lease of Vault's lease manager: renewed until it
// is revoked, and then replaced, with at most 2 renew calls per lease.
func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	first := pair(1)
	first["ttl"] = "3s"
	s := newServer(t,
		request("POST", "sys/mounts/leased", map[string]any{"type": "leased-kv"}),
		request("POST", "leased/db", first),
	)
	store := s.load(s.resolver(nil), "leased/db")
	run(t, store)
	renewed := func(n int) func() error {
		return func() error {
			if got := s.count("PUT sys/leases/renew"); got < n {
				return fmt.Errorf("%d renewals, want %d", got, n)
			}
			return nil
		}
	}
	testenv.Eventually(t, renewed(2))
	if n := s.count("GET leased/db"); n != 1 {
		t.Errorf("read %d times while the lease was renewed, want once", n)
	}
	if !store.Get().is(1) {
		t.Errorf("settings %+v", store.Get())
	}
	second := pair(2)
	second["ttl"] = "1h"
	s.api("POST", "leased/db", second)
	before := s.count("PUT sys/leases/renew")
	s.api("PUT", "sys/leases/revoke-prefix/leased/db", nil)
	testenv.Eventually(t, func() error {
		if !store.Get().is(2) {
			return errors.New("the revoked lease was not replaced")
		}
		return nil
	})
	if n := s.count("PUT sys/leases/renew") - before; n > 2 {
		t.Errorf("%d renew calls for one lease, want at most 2", n)
	}
}

func TestSealed(t *testing.T) {
	t.Parallel()
	s := newServer(t, request("POST", "secret/data/db", map[string]any{"data": pair(1)}))
	store := s.load(s.resolver(nil), "secret/data/db")
	s.api("PUT", "sys/seal", nil)
	var failed *vault.Error
	if err := store.Refresh(t.Context()); !errors.Is(err, vault.ErrSealed) || !errors.As(err, &failed) || failed.StatusCode != 503 || !failed.Temporary() {
		t.Errorf("Refresh of a sealed server: %v, want a passing ErrSealed with status 503", err)
	}
	for _, ref := range store.Stats().References {
		if !errors.Is(ref.Err, vault.ErrSealed) {
			t.Errorf("status of %s: %v, want ErrSealed", ref.Reference, ref.Err)
		}
	}
	if err := store.Reload(t.Context()); err != nil || !store.Get().is(1) {
		t.Errorf("reload of a sealed server: %+v, %v; want the last good value", store.Get(), err)
	}
	s.api("PUT", "sys/unseal", map[string]any{"key": s.unsealKey})
	s.api("POST", "secret/data/db", map[string]any{"data": pair(2)})
	if err := store.Refresh(t.Context()); err != nil || !store.Get().is(2) {
		t.Errorf("after the seal was opened: %+v, %v; want the new value", store.Get(), err)
	}
	for _, ref := range store.Stats().References {
		if ref.Err != nil {
			t.Errorf("status of %s: %v", ref.Reference, ref.Err)
		}
	}
}

// TestOutage ends the server under a running store.
func TestOutage(t *testing.T) {
	t.Parallel()
	first := pair(1)
	first["ttl"] = "2s"
	s := newServer(t, request("POST", "sys/mounts/kv", map[string]any{"type": "kv"}), request("POST", "kv/db", first))
	store := s.load(s.resolver(func(o *vault.Options) { o.Address = s.direct }), "kv/db")
	run(t, store)
	if err := syscall.Kill(s.process.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.process.Done()
	testenv.Eventually(t, func() error {
		refs := store.Stats().References
		if len(refs) != 2 || refs[0].Err == nil || refs[1].Err == nil {
			return fmt.Errorf("the status does not show the outage: %+v", refs)
		}
		return nil
	})
	if err := store.Reload(t.Context()); err != nil || !store.Get().is(1) {
		t.Errorf("during the outage: %+v, %v; want the last good value", store.Get(), err)
	}
}
