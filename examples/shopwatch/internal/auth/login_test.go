package auth_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth/authtest"
)

// begin goes to the provider and logs in there; it returns where the provider
// sends the browser back to.
func (f *fixture) begin(t *testing.T) (back *url.URL, at url.Values) {
	t.Helper()
	return f.beginAs(t, authtest.User)
}

func (f *fixture) beginAs(t *testing.T, user string) (back *url.URL, at url.Values) {
	t.Helper()
	a := f.get(t, "/login/start")
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusSeeOther || !strings.HasPrefix(to.String(), f.idp.Issuer()) {
		t.Fatalf("start: %d to %q", a.status, a.header.Get("Location"))
	}
	next := f.follow(t, http.MethodGet, to.String(), nil) // to the provider's own login
	form := url.Values{"username": {user}, "password": {authtest.Password}, "id": {next.Query().Get("authRequestID")}}
	next = f.follow(t, http.MethodPost, f.idp.Issuer()+"login/username", form)
	return f.follow(t, http.MethodGet, next.String(), nil), to.Query()
}

// follow asks another host, and returns where that sends to.
func (f *fixture) follow(t *testing.T, method, address string, form url.Values) *url.URL {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	to, err := res.Location()
	if err != nil {
		t.Fatalf("%s %s: %s, %v", method, address, res.Status, err)
	}
	return to
}

// login does all of it.
func (f *fixture) login(t *testing.T) {
	t.Helper()
	back, _ := f.begin(t)
	if a := f.get(t, back.RequestURI()); a.status != http.StatusSeeOther || a.header.Get("Location") != "../" {
		t.Fatalf("callback: %d to %q: %s", a.status, a.header.Get("Location"), a.body)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	if a := f.get(t, "/", "Accept", "text/html"); a.status != http.StatusSeeOther || a.header.Get("Location") != "./login" {
		t.Errorf("the page without a login: %d to %q", a.status, a.header.Get("Location"))
	}
	if a := f.get(t, "/"); a.status != http.StatusUnauthorized {
		t.Errorf("the page without a login, for a program: %d", a.status)
	}
	back, asked := f.begin(t)
	if asked.Get("code_challenge_method") != "S256" || len(asked.Get("code_challenge")) != 43 || len(asked.Get("nonce")) < 20 || len(asked.Get("state")) < 20 {
		t.Errorf("asked with %v", asked)
	}
	a := f.get(t, back.RequestURI())
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "../" {
		t.Fatalf("callback: %d to %q: %s", a.status, a.header.Get("Location"), a.body)
	}
	cookies := strings.Join(a.header.Values("Set-Cookie"), "\n")
	for _, want := range []string{"session=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=28800", "login=; Path=/; Max-Age=0"} {
		if !strings.Contains(cookies, want) {
			t.Errorf("cookies lack %q:\n%s", want, cookies)
		}
	}
	if a := f.get(t, "/"); a.status != 200 || a.body != "hello "+authtest.UserSubject+" "+authtest.UserName {
		t.Errorf("the page after the login: %d %s", a.status, a.body)
	}
	if a := f.get(t, "/api/runs"); a.status != 200 {
		t.Errorf("the API with the session: %d %s", a.status, a.body)
	}
	if a := f.get(t, "/api/runs", "Authorization", "Bearer x"); a.status != 401 {
		t.Errorf("a bad token beside a good session: %d", a.status)
	}
	if a := f.get(t, "/login"); a.status != http.StatusSeeOther || a.header.Get("Location") != "./" {
		t.Errorf("login when logged in: %d", a.status)
	}
	// The same answer of the provider a second time.
	if a := f.get(t, back.RequestURI()); a.status != http.StatusBadRequest {
		t.Errorf("callback again: %d %s", a.status, a.body)
	}
	for _, secret := range []string{back.Query().Get("code"), asked.Get("state"), asked.Get("nonce")} {
		if strings.Contains(f.log.String(), secret) {
			t.Error("a secret of the login is in the log")
		}
	}
}

// A logout ends copies of the cookie, too.
func TestLogout(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	f.login(t)
	here, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	var stolen string
	for _, c := range f.client.Jar.Cookies(here) {
		if c.Name == "session" {
			stolen = c.Value
		}
	}
	if a := f.get(t, "/logout"); a.status != http.StatusMethodNotAllowed {
		t.Errorf("logout by a link: %d", a.status)
	}
	if a := f.do(t, http.MethodPost, "/logout"); a.status != http.StatusSeeOther || a.header.Get("Location") != "./login?out" {
		t.Errorf("logout: %d to %q", a.status, a.header.Get("Location"))
	}
	if a := f.get(t, "/login?out"); a.status != 200 || !strings.Contains(a.body, "signed out") || !strings.Contains(a.body, "end_session?client_id=page") {
		t.Errorf("after the logout: %d %s", a.status, a.body)
	}
	if a := f.get(t, "/"); a.status != http.StatusUnauthorized {
		t.Errorf("the page after the logout: %d", a.status)
	}
	if a := f.get(t, "/", "Cookie", "session="+stolen); stolen == "" || a.status != http.StatusUnauthorized {
		t.Errorf("a copy of the cookie after the logout: %d", a.status)
	}
}

// What comes back from the provider is believed only if it fits what was sent.
func TestCallbackRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(url.Values)
		status int
		text   string
	}{
		{"no state", func(q url.Values) { q.Del("state") }, 400, "not begun in this browser"},
		{"another state", func(q url.Values) { q.Set("state", strings.Repeat("A", 26)) }, 400, "not begun in this browser"},
		{"another issuer", func(q url.Values) { q.Set("iss", "https://evil.example") }, 400, "another sign-in service"},
		{"refused", func(q url.Values) { q.Set("error", "access_denied"); q.Set("error_description", "<script>") }, 403, "did not let you in"},
		{"no code", func(q url.Values) { q.Del("code") }, 502, "begin again"},
		{"another code", func(q url.Values) { q.Set("code", "guess") }, 502, "begin again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, nil).run(t).ready(t)
			back, _ := f.begin(t)
			q := back.Query()
			tt.change(q)
			a := f.get(t, back.Path+"?"+q.Encode())
			if a.status != tt.status || !strings.Contains(a.body, tt.text) || strings.Contains(a.body, "<script>") {
				t.Errorf("%d %q, want %d with %q", a.status, a.body, tt.status, tt.text)
			}
			if a := f.get(t, "/"); a.status != http.StatusUnauthorized {
				t.Errorf("and the page: %d", a.status)
			}
		})
	}
}

// A code that was stolen is worthless without the verifier in the cookie, and
// a login that another browser began is not taken over.
func TestCodeOfAnother(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	stolen, _ := f.begin(t)
	mine, _ := f.begin(t)
	q := mine.Query()
	q.Set("code", stolen.Query().Get("code"))
	if a := f.get(t, mine.Path+"?"+q.Encode()); a.status != http.StatusBadGateway {
		t.Errorf("a stolen code: %d %s", a.status, a.body)
	}
	if a := f.get(t, stolen.RequestURI()); a.status != http.StatusBadRequest {
		t.Errorf("the login of before: %d %s", a.status, a.body)
	}
}

// A page whose client has a secret: the right one is needed beside PKCE.
func TestConfidentialClient(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]int{"client-s3cr3t": http.StatusSeeOther, "wrong-s3cr3t": http.StatusBadGateway} {
		f := start(t, func(o *auth.Options) { o.ClientSecret = secret.New(given) })
		f.idp.RegisterConfidential(f.URL, "client-s3cr3t")
		f.run(t).ready(t)
		back, asked := f.begin(t)
		if asked.Get("code_challenge_method") != "S256" {
			t.Error("no PKCE with a secret")
		}
		if a := f.get(t, back.RequestURI()); a.status != want || strings.Contains(a.body, "s3cr3t") {
			t.Errorf("%s: %d %s, want %d", given, a.status, a.body, want)
		}
		if strings.Contains(f.log.String(), "s3cr3t") {
			t.Error("the secret is in the log")
		}
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		user   string
		users  []string
		status int
	}{
		{authtest.User, []string{"somebody@else.example"}, http.StatusForbidden},
		{authtest.User, []string{"somebody@else.example", authtest.UserSubject}, http.StatusSeeOther},
		{authtest.User, []string{authtest.UserEmail}, http.StatusForbidden}, // it is not verified
		{authtest.Verified, []string{strings.ToUpper(authtest.VerifiedAt)}, http.StatusSeeOther},
		{authtest.Verified, []string{authtest.UserEmail}, http.StatusForbidden},
	} {
		f := start(t, func(o *auth.Options) { o.Users = tt.users }).run(t).ready(t)
		back, _ := f.beginAs(t, tt.user)
		if a := f.get(t, back.RequestURI()); a.status != tt.status {
			t.Errorf("%s with %v: %d %s, want %d", tt.user, tt.users, a.status, a.body, tt.status)
		}
	}
}

// A token of another login is not taken, even from the provider itself.
func TestNonce(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	f.idp.SetNonce("another")
	back, _ := f.begin(t)
	if a := f.get(t, back.RequestURI()); a.status != http.StatusBadGateway || !strings.Contains(f.log.String(), "belongs to another sign-in") {
		t.Errorf("%d %s\n%s", a.status, a.body, f.log)
	}
}

// Behind https the cookies are bound to it, and the login begins at the public
// address.
func TestPublicURL(t *testing.T) {
	t.Parallel()
	f := start(t, func(o *auth.Options) { o.BaseURL = "https://watch.example" }).run(t).ready(t)
	a := f.get(t, "/login/start")
	if to := a.header.Get("Location"); to != "https://watch.example/login/start?here" {
		t.Errorf("at another host: sent to %q", to)
	}
	a = f.get(t, "/login/start?here")
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || to.Query().Get("redirect_uri") != "https://watch.example/login/callback" {
		t.Errorf("sent to %q", a.header.Get("Location"))
	}
	if c := a.header.Get("Set-Cookie"); !strings.HasPrefix(c, "__Host-login=") || !strings.Contains(c, "; Secure") {
		t.Errorf("cookie %q", c)
	}
}

// A session key that is given keeps sessions over a restart; another one, or
// another purpose, does not open them.
func TestSessionKey(t *testing.T) {
	t.Parallel()
	const key = "0123456789abcdef0123456789abcdef"
	given := func(key string) func(*auth.Options) {
		return func(o *auth.Options) { o.SessionKey = secret.New(key) }
	}
	f := start(t, given(key)).run(t).ready(t)
	f.login(t)
	here, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	session := f.client.Jar.Cookies(here)[0].Value
	for _, tt := range []struct {
		name   string
		change func(*auth.Options)
		cookie string
		want   int
	}{
		{"restarted", given(key), "session=" + session, 200},
		{"another key", given(strings.ToUpper(key)), "session=" + session, 401},
		{"no key", nil, "session=" + session, 401},
		{"another provider", func(o *auth.Options) { given(key)(o); o.Issuer = "https://id.example" }, "session=" + session, 401},
		{"another client", func(o *auth.Options) { given(key)(o); o.ClientID = "staging" }, "session=" + session, 401},
		{"cut", given(key), "session=" + session[:len(session)-2], 401},
		{"garbled", given(key), "session=" + regexp.MustCompile(`.{4}$`).ReplaceAllString(session, "AAAA"), 401},
		{"empty", given(key), "session=", 401},
	} {
		if a := startAt(t, f.idp, tt.change).get(t, "/", "Cookie", tt.cookie); a.status != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, a.status, tt.want)
		}
	}
	// The cookie of a login under way is no session.
	a := f.get(t, "/login/start")
	value, _, _ := strings.Cut(strings.TrimPrefix(a.header.Get("Set-Cookie"), "login="), ";")
	if a := startAt(t, f.idp, given(key)).get(t, "/", "Cookie", "session="+value); a.status != 401 {
		t.Errorf("a login's cookie as a session: %d", a.status)
	}
}

// Cookies end at their time, whatever a browser does with them.
func TestExpired(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	for end, want := range map[time.Duration]int{time.Minute: http.StatusOK, -time.Second: http.StatusUnauthorized} {
		value, err := f.auth.SealSession(time.Now().Add(end))
		if err != nil {
			t.Fatal(err)
		}
		if a := f.get(t, "/", "Cookie", "session="+value); a.status != want {
			t.Errorf("a session that ends in %v: %d, want %d", end, a.status, want)
		}
	}
	for end, want := range map[time.Duration]int{time.Minute: http.StatusForbidden, -time.Second: http.StatusBadRequest} {
		value, err := f.auth.SealAttempt("state", time.Now().Add(end))
		if err != nil {
			t.Fatal(err)
		}
		if a := f.get(t, "/login/callback?state=state&error=access_denied", "Cookie", "login="+value); a.status != want {
			t.Errorf("a login that ends in %v: %d %s, want %d", end, a.status, a.body, want)
		}
	}
}
