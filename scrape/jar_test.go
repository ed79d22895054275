package scrape_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/scrape"
)

// TestCookieForEachPage has a site set another cookie with each page, as trackers
// do, and refuse a header of more than 8 KiB, as nginx does.
func TestCookieForEachPage(t *testing.T) {
	t.Parallel()
	longest, first := 0, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := r.Header.Get("Cookie")
		longest = max(longest, len(sent))
		if first, _, _ = strings.Cut(sent, ";"); len(sent) > 8<<10 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		page := r.URL.Path[1:]
		http.SetCookie(w, &http.Cookie{Name: "seen" + page, Value: "0123456789abcdef", Path: "/"})
		http.SetCookie(w, &http.Cookie{Name: "huge", Value: strings.Repeat("x", 5000)})
		http.SetCookie(w, &http.Cookie{Name: "gone", Value: page, Path: "/" + page})
		http.SetCookie(w, &http.Cookie{Name: "gone", Path: "/" + page, MaxAge: -1})
		http.SetCookie(w, &http.Cookie{Name: "foreign" + page, Domain: "example.com"})
	}))
	defer server.Close()
	client := newClient(t, options(scrape.Direct()))

	for page := range 1000 {
		res, err := client.Get(t.Context(), fmt.Sprintf("%s/%d", server.URL, page))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("page %d: %s, as the cookies are %d bytes", page, res.Status, longest)
		}
	}
	if want := "seen820=0123456789abcdef"; first != want { // one has made room for that which goes again
		t.Errorf("the oldest cookie is %q, want %q: 179 of them", first, want)
	}
}

// TestJarBounds has sites below one domain share its bound, and others not.
func TestJarBounds(t *testing.T) {
	t.Parallel()
	jar := scrape.NewJar()
	set := func(address string, cookies ...*http.Cookie) *url.URL {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		jar.SetCookies(u, cookies)
		return u
	}
	names := func(u *url.URL) (names []string) {
		for _, c := range jar.Cookies(u) {
			names = append(names, c.Name)
		}
		return names
	}

	www := set("https://www.example.co.uk/a/b", &http.Cookie{Name: "login", Value: "1"}, &http.Cookie{Name: "wide", Value: "1", Domain: ".example.co.uk"})
	other := set("https://example.org/", &http.Cookie{Name: "other", Value: "1"})
	for i := range 178 {
		set(fmt.Sprintf("https://h%d.example.co.uk/", i), &http.Cookie{Name: "c", Value: "1"})
	}
	if got, want := names(www), []string{"login", "wide"}; !slices.Equal(got, want) {
		t.Errorf("180 cookies: %v, want %v", got, want)
	}
	set("https://www.example.co.uk/a/c", &http.Cookie{Name: "login", Value: "2"}) // the same one, anew
	set("https://www.example.co.uk/", &http.Cookie{Name: "more", Value: "1"})
	if got, want := names(www), []string{"login", "more"}; !slices.Equal(got, want) {
		t.Errorf("181 cookies: %v, want %v", got, want)
	}

	for i := range 3000 {
		set(fmt.Sprintf("https://s%d.com/", i), &http.Cookie{Name: "c", Value: "1"})
	}
	if got := append(names(www), names(other)...); len(got) > 0 {
		t.Errorf("3,000 younger cookies, and these are left: %v", got)
	}
}
