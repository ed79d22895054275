package acceptance

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth/authtest"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/browser"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// patience bounds each step in the browser.
const patience = 30 * time.Second

// TestLogin: from the page to the provider and back with code and PKCE, to the
// page with the reader's name, which goes on refreshing itself; and out again.
// The provider is no part of the page's own host, and nothing complains.
func TestLogin(t *testing.T) {
	b := browser.Start(t)
	idp := authtest.Start(t)
	address, end := start(t, build(t), "-auth.issuer", idp.Issuer(), "-auth.client-id", authtest.PageClient)
	idp.Register(address)
	testenv.EventuallyWithin(t, patience, func() error { // until the service has found the provider
		res, err := http.Get(address + "login")
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("the sign-in page answers %s", res.Status)
		}
		return nil
	})
	home := strconv.Quote(strings.TrimSuffix(address, "/"))
	for _, v := range []browser.View{browser.Desktop, browser.Phone.Dark()} {
		tab := b.Open(t, address, v)
		if !tab.Until(`location.pathname === "/login" && document.querySelector("#start")`, patience) {
			t.Fatal("the page does not ask for a login")
		}
		tab.Press("#start")
		if !tab.Until(`location.origin !== `+home+` && document.querySelector("input[name=password]")`, patience) {
			t.Fatal("the provider's login does not appear")
		}
		browser.Eval[bool](tab, `(() => {
			document.querySelector("input[name=username]").value = `+strconv.Quote(authtest.User)+`;
			document.querySelector("input[name=password]").value = `+strconv.Quote(authtest.Password)+`;
			document.querySelector("form").submit();
			return true;
		})()`)
		if !tab.Until(`location.origin === `+home+` && location.pathname === "/" && document.querySelector("header .user .name") && document.querySelector("#live time")`, patience) {
			t.Fatalf("not back on the page: %s", browser.Eval[string](tab, `location.href + " " + document.body.textContent`))
		}
		if search := browser.Eval[string](tab, `location.search`); search != "" {
			t.Errorf("the address has kept %q", search)
		}
		if cookies := browser.Eval[string](tab, `document.cookie`); cookies != "" {
			t.Errorf("a script can read the cookies %q", cookies)
		}
		asOf := browser.Eval[string](tab, `document.querySelector("#live time").dateTime`)
		if !tab.Until(`document.querySelector("#live time").dateTime !== `+strconv.Quote(asOf), patience) {
			t.Error("the page does not refresh itself")
		}
		if !tab.Until(`!document.querySelector("#scrape button").disabled`, patience) {
			t.Error("no run can be asked for")
		}
		tab.Press("#scrape button")
		if !tab.Until(`document.querySelector("#live-state").textContent.includes("asked for") || [...document.querySelectorAll("#runs tbody th")].some(e => e.textContent.includes("request"))`, patience) {
			t.Error("no run was asked for")
		}
		if diff := cmp.Diff([]string{}, tab.Overflow()); diff != "" {
			t.Errorf("beyond the screen (-want +got):\n%s", diff)
		}
		tab.Press("header .user button")
		if !tab.Until(`location.pathname === "/login" && document.querySelector(".told")?.textContent.includes("signed out")`, patience) {
			t.Error("not signed out")
		}
		// The provider's pages are not ours to judge.
		problems := slices.DeleteFunc(tab.Problems(), func(p string) bool { return strings.Contains(p, idp.Issuer()) })
		if len(problems) > 0 {
			t.Errorf("the page complains: %q", problems)
		}
		tab.Close()
	}
	end()
}
