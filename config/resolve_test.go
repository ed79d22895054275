package config_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
)

// counter is a Resolver whose values count its calls.
type counter struct {
	mu    sync.Mutex
	calls int
	lease time.Duration
	err   error
}

func (c *counter) Resolve(context.Context, string, string) (string, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	return fmt.Sprint("v", c.calls), c.lease, c.err
}

func (c *counter) set(lease time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lease, c.err = lease, err
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

func TestReferences(t *testing.T) {
	t.Parallel()
	type settings struct {
		A, B string
		N    int
		List []string
		Map  map[string]string
	}
	c := &counter{}
	path := write(t, t.TempDir(), "s.yaml", "a: ref+count://x\nb: ref+count://x\nlist: [one, ref+count://y]\nmap: {k: ref+count://x}\n")
	s := load(t, settings{}, config.File(path), config.Resolve("count", c))
	if got := s.Get(); got.A != got.B || got.A != got.Map["k"] || got.List[1] == got.A || c.count() != 2 {
		t.Errorf("settings %+v after %d calls, want one call for each reference", got, c.count())
	}
	first := *s.Get()
	must(t, s.Reload(t.Context()))
	if s.Get().A != first.A || c.count() != 2 {
		t.Errorf("a reload resolved again: %d calls", c.count())
	}
	must(t, s.Refresh(t.Context()))
	if s.Get().A == first.A || c.count() != 4 {
		t.Errorf("Refresh gave %q after %d calls", s.Get().A, c.count())
	}
	// An outage keeps the value through Refresh and Reload.
	down, before := errors.New("down"), *s.Get()
	c.set(0, down)
	if err := s.Refresh(t.Context()); !errors.Is(err, down) || s.Get().A != before.A {
		t.Errorf("Refresh in an outage: %v, %+v", err, s.Get())
	}
	must(t, os.WriteFile(path, []byte("a: ref+count://x\nn: 7\n"), 0o600))
	must(t, s.Reload(t.Context()))
	if s.Get().A != before.A || s.Get().N != 7 {
		t.Errorf("Reload in an outage: %+v", s.Get())
	}
	// A reference that is new has no value to fall back to.
	must(t, os.WriteFile(path, []byte("a: ref+count://new\n"), 0o600))
	if err := s.Reload(t.Context()); !errors.Is(err, down) || s.Get().A != before.A {
		t.Errorf("a new reference in an outage: %v", err)
	}
	c.set(time.Nanosecond, nil) // over at once
	must(t, s.Reload(t.Context()))
	calls := c.count()
	must(t, s.Reload(t.Context()))
	if c.count() != calls+1 {
		t.Errorf("a value past its lease was resolved %d times, want once", c.count()-calls)
	}
	last := s.Get().A
	c.set(0, down)
	must(t, s.Reload(t.Context()))
	if refs := s.Stats().References; s.Get().A != last || len(refs) != 1 || !errors.Is(refs[0].Err, down) {
		t.Errorf("past its lease in an outage: %q, status %+v", s.Get().A, refs)
	}
}

// TestLeaseIsRenewed waits for Run to resolve again before the lease ends.
func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	c := &counter{lease: 1500 * time.Millisecond}
	at := time.Now()
	s := load(t, watched{}, config.Source("m", mapProvider(func() map[string]any { return map[string]any{"name": "ref+count://x"} }), nil),
		config.Resolve("count", c), config.Poll(-1))
	running(t, s)
	eventually(t, "the second value", func() bool { return s.Get().Name == "v2" })
	if waited := time.Since(at); waited < 500*time.Millisecond {
		t.Errorf("renewed after %v, want about 1s", waited)
	}
	c.set(1500*time.Millisecond, errors.New("down"))
	eventually(t, "the failure", func() bool { return s.Stats().References[0].Err != nil })
	name, calls := s.Get().Name, c.count()
	c.set(time.Hour, nil)
	eventually(t, "recovery", func() bool { return s.Get().Name != name && s.Stats().References[0].Err == nil })
	if n := c.count() - calls; n > 3 {
		t.Errorf("%d calls to recover, want them to wait in between", n)
	}
}

func TestLocalReferences(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := write(t, dir, "plain text", "from a file\n")
	nested := write(t, dir, "nested.toml", "[mail]\npassword = 'deep'\n")
	path := write(t, dir, "s.yaml", "a: ref+file://"+strings.ReplaceAll(plain, " ", "%20")+"\nb: ref+file://"+nested+"#mail.password\nc: ref+env://X\n")
	type settings struct{ A, B, C string }
	s := load(t, settings{}, config.File(path), config.Environ("X=from a variable"), config.Poll(-1))
	if want := (settings{"from a file", "deep", "from a variable"}); *s.Get() != want {
		t.Errorf("settings %+v, want %+v", *s.Get(), want)
	}
	running(t, s)
	must(t, os.WriteFile(plain, []byte("rotated\n"), 0o600))
	eventually(t, "the rotated file", func() bool { return s.Get().A == "rotated" })
	for text, want := range map[string]string{
		"ref+file://" + nested + "#mail.none": "there is no single value at key mail.none",
		"ref+file://" + dir + "/none":         "cannot resolve ref+file://" + dir + "/none: read",
		"ref+env://NONE":                      "variable NONE is not set",
		"ref+env://X#y":                       "a variable has no keys",
		"ref+file://%zz":                      "invalid percent escape",
	} {
		_, err := config.Load(t.Context(), settings{}, config.Environ("A="+text), config.Env(""))
		if err == nil || !strings.Contains(err.Error(), want) || strings.HasSuffix(text, "/none") && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// account is a Resolver of a secret with two keys that change together.
type account struct {
	mu      sync.Mutex
	version int
	asked   map[string]int // key to the last version given
	lease   time.Duration
}

func (a *account) Resolve(_ context.Context, _, key string) (string, time.Duration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked[key] == a.version { // asked for it again: the next version
		a.version++
	}
	a.asked[key] = a.version
	// The second key's lease is told a little later, as over a network.
	lease := a.lease
	if key == "password" {
		lease += 20 * time.Millisecond
	}
	return fmt.Sprint(a.version), lease, nil
}

// TestKeysOfOneSecretChangeTogether renews a leased name and password.
func TestKeysOfOneSecretChangeTogether(t *testing.T) {
	t.Parallel()
	type settings struct{ User, Password string }
	a := &account{version: 1, asked: map[string]int{}, lease: 1500 * time.Millisecond}
	path := write(t, t.TempDir(), "s.yaml", "user: ref+db://creds#user\npassword: ref+db://creds#password\n")
	s := load(t, settings{}, config.File(path), config.Resolve("db", a), config.Poll(-1))
	var torn []settings
	stop := config.OnChange(s, func(v *settings) settings { return *v }, func(_, now settings) {
		if now.User != now.Password {
			torn = append(torn, now)
		}
	})
	end := running(t, s)
	eventually(t, "the third version", func() bool { return s.Get().User == "3" })
	end()
	stop()
	if len(torn) > 0 {
		t.Errorf("name and password of different versions: %v", torn)
	}
}
