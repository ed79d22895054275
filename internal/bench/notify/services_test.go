package notify_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bwmarrin/discordgo"
	telegrambot "github.com/go-telegram-bot-api/telegram-bot-api"
	"github.com/google/go-cmp/cmp"
	nikoksr "github.com/nikoksr/notify"
	"github.com/nikoksr/notify/service/discord"
	httpservice "github.com/nikoksr/notify/service/http"
	"github.com/nikoksr/notify/service/mail"
	"github.com/nikoksr/notify/service/msteams"
	"github.com/nikoksr/notify/service/telegram"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each side's types fit the other's interface.
var (
	_ notify.Notifier  = (*nikoksr.Notify)(nil)
	_ notify.Notifier  = (*telegram.Telegram)(nil)
	_ notify.Notifier  = (*discord.Discord)(nil)
	_ notify.Notifier  = (*httpservice.Service)(nil)
	_ notify.Notifier  = (*msteams.MSTeams)(nil)
	_ notify.Notifier  = (*mail.Mail)(nil)
	_ nikoksr.Notifier = (*notify.Hub)(nil)
)

// The secrets in the services' addresses.
const (
	telegramToken = "110201543:CANARY-telegram"
	discordToken  = "CANARY-discord"
	teamsPath     = "/teams/CANARY-teams"
	hookPath      = "/hook/CANARY-hook"
)

// post is one request that a service made.
type post struct{ service, auth, body string }

// platforms stands in for Telegram, Discord, Teams and a webhook.
type platforms struct {
	*httptest.Server
	status int // that each message is answered with, 0 for success

	mu    sync.Mutex
	posts []post
}

func newPlatforms(t testing.TB) *platforms {
	p := &platforms{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *platforms) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var got post
	answer := "{}"
	switch path := r.URL.Path; {
	case path == "/bot"+telegramToken+"/getMe":
		_, _ = io.WriteString(w, `{"ok":true,"result":{"id":1,"is_bot":true,"first_name":"Shop"}}`)
		return
	case path == "/bot"+telegramToken+"/sendMessage":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		got = post{service: "telegram", body: form.Get("chat_id") + " " + form.Get("text")}
		answer = `{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":42,"type":"group"}}}`
	case path == "/channels/c1/messages":
		got = post{service: "discord", auth: r.Header.Get("Authorization"), body: string(body)}
		answer = `{"id":"9","channel_id":"c1"}`
	case path == teamsPath:
		got = post{service: "msteams", body: string(body)}
		answer = "1"
	case path == hookPath:
		got = post{service: "http", body: string(body)}
	default:
		http.NotFound(w, r)
		return
	}
	p.mu.Lock()
	p.posts = append(p.posts, got)
	p.mu.Unlock()
	if p.status != 0 {
		http.Error(w, `{"ok":false,"message":"declined"}`, p.status)
		return
	}
	_, _ = io.WriteString(w, answer)
}

// take returns the requests so far, by service.
func (p *platforms) take() []post {
	p.mu.Lock()
	defer p.mu.Unlock()
	posts := p.posts
	p.posts = nil
	slices.SortFunc(posts, func(a, b post) int { return strings.Compare(a.service, b.service) })
	return posts
}

// redirected sends each request to another host.
type redirected struct {
	to   *url.URL
	next http.RoundTripper
}

func (r redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = r.to.Scheme, r.to.Host
	return r.next.RoundTrip(req)
}

// services returns the four services, directed to p.
func (p *platforms) services(t *testing.T) []notify.Receiver {
	t.Helper()
	to, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: redirected{to: to, next: p.Client().Transport}, Timeout: 10 * time.Second}

	bot, err := telegrambot.NewBotAPIWithClient(telegramToken, client)
	if err != nil {
		t.Fatal(err)
	}
	tg := &telegram.Telegram{}
	tg.SetClient(bot)
	tg.AddReceivers(42)

	// Discord's library has its address in a variable, and a client of its own
	// over http.DefaultTransport.
	address := discordgo.EndpointChannels
	discordgo.EndpointChannels = p.URL + "/channels/"
	t.Cleanup(func() {
		discordgo.EndpointChannels = address
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	dc := discord.New()
	if err := dc.AuthenticateWithBotToken(discordToken); err != nil {
		t.Fatal(err)
	}
	dc.AddReceivers("c1")

	teams := msteams.New()
	teams.DisableWebhookValidation()
	teams.SetHTTPClient(client)
	teams.AddReceivers(p.URL + teamsPath)

	hook := httpservice.New()
	hook.WithClient(client)
	hook.AddReceiversURLs(p.URL + hookPath)

	var receivers []notify.Receiver
	for _, s := range []struct {
		name string
		n    notify.Notifier
	}{{"telegram", tg}, {"discord", dc}, {"http", hook}, {"msteams", teams}} {
		receivers = append(receivers, notify.Receiver{Name: s.name, Notifier: s.n, Retry: notify.Retry{Attempts: -1}})
	}
	return receivers
}

func newHub(t testing.TB, receivers ...notify.Receiver) *notify.Hub {
	t.Helper()
	hub, err := notify.New(&notify.Options{Receivers: receivers, Source: "-"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	return hub
}

// checkPosts reports whether each service posted the message once.
func checkPosts(t *testing.T, p *platforms, subject, text string) {
	t.Helper()
	posts := p.take()
	var from []string
	for _, got := range posts {
		from = append(from, got.service)
		if !strings.Contains(got.body, subject) || !strings.Contains(got.body, text) {
			t.Errorf("%s posted %q, want %q and %q in it", got.service, got.body, subject, text)
		}
		switch got.service {
		case "telegram":
			if want := "42 " + subject + "\n" + text; got.body != want {
				t.Errorf("telegram posted %q, want %q", got.body, want)
			}
		case "discord":
			if want := "Bot " + discordToken; got.auth != want {
				t.Errorf("discord sent Authorization %q, want %q", got.auth, want)
			}
		}
	}
	if diff := cmp.Diff([]string{"discord", "http", "msteams", "telegram"}, from); diff != "" {
		t.Errorf("services that posted (-want +got):\n%s", diff)
	}
}

func TestServicesAreReceivers(t *testing.T) { // not parallel: the address of Discord is a variable
	p := newPlatforms(t)
	hub := newHub(t, p.services(t)...)
	if err := hub.Send(t.Context(), "price changed", "Tea costs 4.20 now."); err != nil {
		t.Fatal(err)
	}
	checkPosts(t, p, "price changed", "Tea costs 4.20 now.")
}

// TestHubIsAService puts the hub, with the services as receivers, into
// nikoksr's own dispatcher, and that into another hub.
func TestHubIsAService(t *testing.T) {
	p := newPlatforms(t)
	inner := nikoksr.NewWithServices(newHub(t, p.services(t)...))
	outer := newHub(t, notify.Receiver{Name: "nikoksr", Notifier: inner})
	if err := outer.Send(t.Context(), "stock is low", "3 boxes of tea left."); err != nil {
		t.Fatal(err)
	}
	checkPosts(t, p, "stock is low", "3 boxes of tea left.")
}

// TestServicesFail shows what the hub adds: every service's failure is told
// apart by name, and none tells a secret, although the services' errors do.
func TestServicesFail(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(*platforms)
	}{
		{"declined", func(p *platforms) { p.status = http.StatusForbidden }},
		{"unreachable", func(p *platforms) { p.Close() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlatforms(t)
			receivers := p.services(t)
			tc.damage(p)

			var leaks strings.Builder
			for _, r := range receivers {
				if err := r.Notifier.Send(t.Context(), "subject", "text"); err != nil {
					leaks.WriteString(err.Error())
				}
			}
			if tc.name == "unreachable" && !strings.Contains(leaks.String(), "CANARY") {
				t.Errorf("the services' own errors hold no secret, so that this test shows nothing: %s", leaks.String())
			}

			err := newHub(t, receivers...).Send(t.Context(), "subject", "text")
			var names []string
			for _, e := range notify.Errors(err) {
				names = append(names, e.Receiver)
			}
			slices.Sort(names)
			if diff := cmp.Diff([]string{"discord", "http", "msteams", "telegram"}, names); diff != "" {
				t.Errorf("receivers in the error (-want +got):\n%s\n%v", diff, err)
			}
			if err != nil && strings.Contains(err.Error(), "CANARY") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

// TestServiceIgnoresContext shows that a service which does not end with its
// context does not hold the hub up.
func TestServiceIgnoresContext(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(silent.Close)
	to, err := url.Parse(silent.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	bot := &telegrambot.BotAPI{Token: telegramToken, Client: &http.Client{Transport: redirected{to: to, next: transport}}}
	tg := &telegram.Telegram{}
	tg.SetClient(bot)
	tg.AddReceivers(42)

	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{
		{Name: "telegram", Notifier: tg, Timeout: 100 * time.Millisecond, Retry: notify.Retry{Attempts: -1}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err = hub.Send(ctx, "subject", "text")
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Receiver != "telegram" || ctx.Err() != nil {
		t.Errorf("got %v, want one error of telegram, before the caller's own deadline", err)
	}
	close(release)
	if err := hub.Close(); err != nil {
		t.Error(err)
	}
}
