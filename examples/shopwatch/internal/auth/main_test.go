package auth_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth/authtest"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	apiAudience = "shop-watch-api"
	apiScope    = "watch.read"
	runScope    = "watch.run"
)

// fixture is a guarded service beside its provider.
type fixture struct {
	*httptest.Server

	idp    *authtest.Provider
	auth   *auth.Auth
	client *http.Client // with cookies; follows no redirect
	log    *logBuffer
}

type logBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// start starts both. change may alter the options.
func start(t *testing.T, change func(*auth.Options)) *fixture {
	t.Helper()
	idp := authtest.Start(t)
	f := startAt(t, idp, change)
	idp.Register(f.URL)
	return f
}

// startAt starts the service beside a provider that is there.
func startAt(t *testing.T, idp *authtest.Provider, change func(*auth.Options)) *fixture {
	t.Helper()
	f := &fixture{idp: idp, log: &logBuffer{}}
	mux := http.NewServeMux()
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	opts := auth.Options{
		Config: auth.Config{
			Issuer: f.idp.Issuer(), Audience: apiAudience, Scope: apiScope, WriteScope: runScope, ClientID: authtest.PageClient,
		},
		BaseURL: f.URL, RetryEvery: 20 * time.Millisecond,
		SignIn: func(w http.ResponseWriter, _ *http.Request, s auth.SignIn) {
			w.WriteHeader(s.Status)
			_, _ = io.WriteString(w, "sign in: "+s.Message+" "+s.EndSession)
		},
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&opts)
	}
	var err error
	if f.auth, err = auth.New(opts); err != nil {
		t.Fatal(err)
	}
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := auth.UserFrom(r.Context())
		_, _ = io.WriteString(w, "hello "+u.Subject+" "+u.Name)
	})
	mux.Handle("/", f.auth.Page(who))
	mux.Handle("/api/", f.auth.API(who))
	mux.Handle("/login", f.auth.Login())
	mux.Handle("/login/", f.auth.Login())
	mux.Handle("/logout", f.auth.Login())

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.client = &http.Client{
		Transport: f.Client().Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return f
}

// run runs the guard until the test ends.
func (f *fixture) run(t *testing.T) *fixture {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.auth.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

// ready waits until the provider is known.
func (f *fixture) ready(t *testing.T) *fixture {
	t.Helper()
	testenv.Eventually(t, func() error { return f.auth.Check(t.Context()) })
	return f
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (f *fixture) do(t *testing.T, method, path string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func (f *fixture) get(t *testing.T, path string, header ...string) answer {
	t.Helper()
	return f.do(t, http.MethodGet, path, header...)
}

func (f *fixture) token(t *testing.T, token string) answer {
	t.Helper()
	return f.get(t, "/api/runs", "Authorization", "Bearer "+token)
}
