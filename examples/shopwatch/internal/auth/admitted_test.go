package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth/authtest"
)

// logouts is a store that outlives an Auth.
type logouts struct {
	mu    sync.Mutex
	ended map[string]time.Time
	err   error
}

func (l *logouts) End(id string, until time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.ended[id] = until
	}
	return l.err
}

func (l *logouts) Ended() (map[string]time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.ended), l.err
}

const sessionKey = "0123456789abcdef0123456789abcdef"

// cookie returns the session of the browser.
func (f *fixture) cookie(t *testing.T) string {
	t.Helper()
	here, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range f.client.Jar.Cookies(here) {
		if c.Name == "session" {
			return "session=" + c.Value
		}
	}
	t.Fatal("no session")
	return ""
}

// again starts the same service once more.
func (f *fixture) again(t *testing.T, change func(*auth.Options)) *fixture {
	t.Helper()
	return startAt(t, f.idp, func(o *auth.Options) {
		o.SessionKey = secret.New(sessionKey)
		if change != nil {
			change(o)
		}
	})
}

// A logout holds across restarts.
func TestLogoutAndRestart(t *testing.T) {
	t.Parallel()
	store := &logouts{ended: map[string]time.Time{}}
	change := func(o *auth.Options) { o.SessionKey, o.Logouts = secret.New(sessionKey), store }
	f := start(t, change).run(t).ready(t)
	f.login(t)
	stolen := f.cookie(t)
	if a := f.again(t, change).get(t, "/", "Cookie", stolen); a.status != http.StatusOK {
		t.Errorf("restarted before the logout: %d", a.status)
	}
	f.do(t, http.MethodPost, "/logout")
	for _, path := range []string{"/", "/api/runs"} {
		if a := f.again(t, change).get(t, path, "Cookie", stolen); a.status != http.StatusUnauthorized {
			t.Errorf("a copy of the cookie after logout and restart, %s: %d", path, a.status)
		}
	}

	store.err = errors.New("disk full")
	f.login(t)
	stolen = f.cookie(t)
	f.do(t, http.MethodPost, "/logout")
	if a := f.get(t, "/", "Cookie", stolen); a.status != http.StatusUnauthorized || !strings.Contains(f.log.String(), "disk full") {
		t.Errorf("after a logout that could not be stored: %d\n%s", a.status, f.log)
	}
	if _, err := auth.New(auth.Options{
		Config: auth.Config{Issuer: f.idp.Issuer(), ClientID: authtest.PageClient}, BaseURL: f.URL, Logouts: store,
		SignIn: func(http.ResponseWriter, *http.Request, auth.SignIn) {},
	}); !errors.Is(err, store.err) {
		t.Errorf("New with a store that cannot be read = %v", err)
	}
}

// Where more sessions ended than are remembered one by one, the others end too,
// also for the next start.
func TestManyLogouts(t *testing.T) {
	t.Parallel()
	store := &logouts{ended: map[string]time.Time{}}
	change := func(o *auth.Options) { o.SessionKey, o.Logouts = secret.New(sessionKey), store }
	f := start(t, change)
	first, err := f.auth.SealSession(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.auth.EndSessions(10_000); err != nil {
		t.Fatal(err)
	}
	if a := f.get(t, "/", "Cookie", "session="+first); a.status != http.StatusOK {
		t.Errorf("another session: %d", a.status)
	}
	if err := f.auth.EndSessions(1); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*fixture{f, f.again(t, change)} {
		if a := f.get(t, "/", "Cookie", "session="+first); a.status != http.StatusUnauthorized {
			t.Errorf("a session from before there were too many: %d", a.status)
		}
	}
	later, err := f.auth.SealSession(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if a := f.get(t, "/", "Cookie", "session="+later); a.status != http.StatusOK {
		t.Errorf("a later session: %d", a.status)
	}
}

// The length of a session holds as it is set now, and what ended stays so when it
// is set anew.
func TestSessionSetAnew(t *testing.T) {
	t.Parallel()
	store := &logouts{ended: map[string]time.Time{}}
	lasts := func(d time.Duration) func(*auth.Options) {
		return func(o *auth.Options) { o.SessionKey, o.Logouts, o.Session = secret.New(sessionKey), store, d }
	}
	f := start(t, lasts(8*time.Hour))
	old, err := f.auth.SealSessionOf(time.Now().Add(-2*time.Hour), time.Now().Add(6*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if a := f.get(t, "/", "Cookie", "session="+old); a.status != http.StatusOK {
		t.Errorf("a session of two hours: %d", a.status)
	}
	if a := f.again(t, lasts(time.Hour)).get(t, "/", "Cookie", "session="+old); a.status != http.StatusUnauthorized {
		t.Errorf("where sessions last one hour now: %d", a.status)
	}

	if err := f.again(t, lasts(time.Hour)).auth.EndSessions(10_001); err != nil {
		t.Fatal(err)
	}
	if a := f.again(t, lasts(8*time.Hour)).get(t, "/", "Cookie", "session="+old); a.status != http.StatusUnauthorized {
		t.Errorf("after all had ended, where sessions last longer again: %d", a.status)
	}
}

// An address is compared whatever the case of its letters, and is no other one
// that looks alike.
func TestAddresses(t *testing.T) {
	t.Parallel()
	users := []string{"Kim.Sosa@example.com"}
	for email, want := range map[string]bool{
		"kim.sosa@EXAMPLE.com": true, "Kim.Sosa@example.com": true, "": false, "kim.sosa@example.org": false,
		"\u212aim.sosa@example.com": false, "kim.\u017fosa@example.com": false,
	} {
		if got := auth.Admits(users, email); got != want {
			t.Errorf("%q is admitted: %v", email, got)
		}
	}
}

// Who is taken out of the users is out at the next request.
func TestRemovedUser(t *testing.T) {
	t.Parallel()
	given := func(users ...string) func(*auth.Options) {
		return func(o *auth.Options) { o.SessionKey, o.Users = secret.New(sessionKey), users }
	}
	f := start(t, given(strings.ToUpper(authtest.VerifiedAt))).run(t).ready(t)
	back, _ := f.beginAs(t, authtest.Verified)
	if a := f.get(t, back.RequestURI()); a.status != http.StatusSeeOther {
		t.Fatalf("login: %d %s", a.status, a.body)
	}
	cookie := f.cookie(t)
	for name, tt := range map[string]struct {
		users []string
		want  int
	}{
		"the same":      {[]string{authtest.VerifiedAt}, http.StatusOK},
		"everybody":     {nil, http.StatusOK},
		"somebody else": {[]string{"somebody-else"}, http.StatusUnauthorized},
	} {
		service := f.again(t, given(tt.users...))
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for _, path := range []string{"/", "/api/runs"} {
				if a := service.do(t, method, path, "Cookie", cookie); a.status != tt.want {
					t.Errorf("%s: %s %s: %d, want %d", name, method, path, a.status, tt.want)
				}
			}
		}
	}
}

// What is another kind of token is none for the API, and users and clients hold
// for those that are.
func TestTokensOfOtherKinds(t *testing.T) {
	t.Parallel()
	claims := func(f *fixture, change map[string]any) string {
		c := map[string]any{
			"iss": f.idp.Issuer(), "aud": apiAudience, "sub": "ada", "scope": apiScope, "client_id": authtest.APIClient,
			"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		}
		maps.Copy(c, change)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return f.idp.Sign(t, "JWT", c)
	}
	first := start(t, nil)
	users := func(o *auth.Options) { o.Users = []string{"ada", "eve@id.example"} }
	listed := func(o *auth.Options) { users(o); o.Clients = []string{authtest.APIClient} }
	for name, tt := range map[string]struct {
		options func(*auth.Options)
		change  map[string]any
		want    int
		text    string
	}{
		"nonce":             {nil, map[string]any{"nonce": "n"}, 401, "ID token"},
		"at_hash":           {nil, map[string]any{"at_hash": "x"}, 401, "ID token"},
		"c_hash":            {nil, map[string]any{"c_hash": "x"}, 401, "ID token"},
		"s_hash":            {nil, map[string]any{"s_hash": "x"}, 401, "ID token"},
		"Keycloak's ID":     {nil, map[string]any{"typ": "ID"}, 401, "no access token"},
		"Keycloak's other":  {nil, map[string]any{"typ": "Refresh"}, 401, "no access token"},
		"Keycloak's access": {nil, map[string]any{"typ": "Bearer"}, 200, ""},
		"Cognito's ID":      {nil, map[string]any{"token_use": "id"}, 401, "no access token"},
		"Cognito's access":  {nil, map[string]any{"token_use": "access"}, 200, ""},
		"logout token":      {nil, map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, 401, "event"},
		"no subject":        {nil, map[string]any{"sub": nil}, 401, "whom it speaks for"},
		"no audience set":   {func(o *auth.Options) { o.Audience = "" }, map[string]any{"aud": authtest.PageClient}, 401, "auth.audience is not set"},

		"user":                     {users, nil, 200, ""},
		"another user":             {users, map[string]any{"sub": "mallory"}, 403, "not admitted"},
		"user by address":          {users, map[string]any{"sub": "e", "email": "Eve@id.example", "email_verified": true}, 200, ""},
		"address not verified":     {users, map[string]any{"sub": "e", "email": "eve@id.example"}, 403, "not admitted"},
		"client that is no user":   {users, map[string]any{"sub": authtest.APIClient}, 403, "not admitted"},
		"listed client for itself": {listed, map[string]any{"sub": authtest.APIClient}, 200, ""},
		"listed client, stranger":  {listed, map[string]any{"sub": "mallory"}, 403, "somebody"},
		"another client, user":     {listed, map[string]any{"client_id": "other"}, 403, "client"},
	} {
		t.Run(name, func(t *testing.T) {
			f := first.again(t, tt.options).run(t).ready(t)
			if a := f.token(t, claims(f, tt.change)); a.status != tt.want || !strings.Contains(a.body, tt.text) {
				t.Errorf("%d %s, want %d with %q", a.status, a.body, tt.want, tt.text)
			}
		})
	}
}

// describing answers for a provider whose description says change.
type describing struct{ change map[string]any }

func (d describing) RoundTrip(r *http.Request) (*http.Response, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"keys": []any{jose.JSONWebKey{Key: &key.PublicKey, KeyID: "k", Algorithm: "ES256", Use: "sig"}}}
	if strings.HasSuffix(r.URL.Path, "openid-configuration") {
		body = map[string]any{"issuer": "https://id.example"}
		for name, at := range map[string]string{
			"authorization_endpoint": "a", "token_endpoint": "t", "jwks_uri": "k", "userinfo_endpoint": "u", "end_session_endpoint": "e",
		} {
			body[name] = "https://id.example/" + at
		}
		maps.Copy(body, d.change)
	}
	text, err := json.Marshal(body)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(string(text))), Request: r,
	}, err
}

// Every endpoint that a provider's description names is good enough for what
// travels there, or nothing of it is used.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	first := start(t, nil)
	for _, tt := range []struct {
		change map[string]any
		want   string
	}{
		{nil, ""},
		{map[string]any{"userinfo_endpoint": nil, "end_session_endpoint": nil}, ""},
		{map[string]any{"userinfo_endpoint": "http://id.example/userinfo"}, "userinfo_endpoint http://id.example/userinfo: write https"},
		{map[string]any{"userinfo_endpoint": "http://127.0.0.1/userinfo"}, "userinfo_endpoint is not https"},
		{map[string]any{"token_endpoint": "http://id.example/t"}, "token_endpoint"},
		{map[string]any{"token_endpoint": "http://127.0.0.1/t"}, "token_endpoint is not https"},
		{map[string]any{"authorization_endpoint": "http://[::1]/a"}, "authorization_endpoint is not https"},
		{map[string]any{"jwks_uri": "http://localhost/k"}, "jwks_uri is not https"},
		{map[string]any{"end_session_endpoint": "http://id.example/e"}, "end_session_endpoint"},
		{map[string]any{"end_session_endpoint": "javascript:alert(1)"}, "end_session_endpoint"},
	} {
		f := first.again(t, func(o *auth.Options) {
			o.Issuer, o.Transport = "https://id.example", describing{tt.change}
			o.RetryEvery = time.Hour
		}).run(t)
		err := f.auth.Check(t.Context())
		if text := fmt.Sprint(err); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(text, tt.want) {
			t.Errorf("%v: %v, want %q", tt.change, err, tt.want)
		}
	}
}
