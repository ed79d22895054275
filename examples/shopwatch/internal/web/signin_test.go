package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/browser"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

var signIns = map[string]web.SignIn{
	"first": {Service: "Shop watch", Start: "/login/start", Provider: "id.example"},
	"trouble": {
		Service: "Leaf & Bean <b>" + strings.Repeat("long", 20), Message: "You are known to the sign-in service, but not admitted here.", Trouble: true,
		Start: "/login/start", Provider: strings.Repeat("a-long-name.", 8) + "example", EndSession: "https://id.example/end?client_id=x",
	},
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	h := web.NewHandler(func(context.Context) web.Page { return web.Page{} }, nil)
	rec := httptest.NewRecorder()
	h.SignIn(rec, httptest.NewRequest(http.MethodGet, "/login", nil), http.StatusForbidden, signIns["trouble"])
	body := rec.Body.String()
	if rec.Code != http.StatusForbidden || !strings.HasPrefix(rec.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
	for _, want := range []string{"Leaf &amp; Bean &lt;b&gt;", "not admitted here", `href="/login/start"`, `class="told trouble"`, `href="https://id.example/end?client_id=x"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "<script") {
		t.Error("the page needs a script")
	}
}

// The name of who is logged in is text, and there is a way out without a
// script.
func TestUser(t *testing.T) {
	t.Parallel()
	p := sample()
	p.User = `Ada <img src=x>`
	doc := document(t, p)
	if got := doc.Find("header .user .name").Text(); got != p.User {
		t.Errorf("name = %q", got)
	}
	form := doc.Find(`header form[action="logout"]`)
	if method, _ := form.Attr("method"); method != "post" || form.Find("button").Length() != 1 {
		t.Errorf("the form is %q", method)
	}
	if n := document(t, sample()).Find("header .user").Length(); n != 0 {
		t.Error("somebody is logged in where nobody is")
	}
}

// The sign-in page, and the page of somebody who is logged in, on each screen.
func TestSignInViews(t *testing.T) {
	t.Parallel()
	b := browser.Start(t)
	h := web.NewHandler(func(context.Context) web.Page {
		p := sample()
		p.User = "Ada Augusta King-Noel, Countess of Lovelace"
		return p
	}, nil)
	mux := http.NewServeMux()
	mux.Handle("/", h)
	for name, s := range signIns {
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, r *http.Request) { h.SignIn(w, r, http.StatusOK, s) })
	}
	s := httptest.NewServer(mux)
	defer s.Close()
	for _, path := range []string{"first", "trouble", ""} {
		for _, v := range []browser.View{browser.Desktop, browser.Desktop.Dark(), browser.Phone, browser.Narrow.Dark()} {
			t.Run(path+"-"+v.Name+"-"+v.Scheme, func(t *testing.T) {
				tab := b.Open(t, s.URL+"/"+path, v)
				defer tab.Close()
				picture(t, tab, "signin-"+path+"-"+v.Name+"-"+v.Scheme)
				if diff := cmp.Diff([]string{}, tab.Overflow()); diff != "" {
					t.Errorf("beyond the screen (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]string{}, tab.Axe(t)); diff != "" {
					t.Errorf("axe-core finds (-want +got):\n%s", diff)
				}
				if got := tab.Problems(); len(got) > 0 {
					t.Errorf("the page complains: %q", got)
				}
			})
		}
	}
}
