package web_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/demo"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

var sampleNow = time.Date(2026, time.May, 4, 12, 30, 0, 0, time.UTC)

// sample is a page as a service shows it some minutes after its start, with
// texts that are long, hostile, or both.
func sample() web.Page {
	p := web.Page{
		Service: web.Service{
			Name: "shopwatch", Version: "v0.1.0", Profile: "dev", Address: "http://127.0.0.1:8080",
			Started: sampleNow.Add(-6 * time.Minute),
		},
		Now: sampleNow,
		Checks: []web.Check{
			{Name: "config", State: web.OK, Detail: "Loaded from config/config.yaml and config/config.dev.yaml."},
			{Name: "logging", State: web.OK, Detail: "The file is written and shipped."},
			{
				Name: "notify", State: web.Degraded, Detail: "ops-mail: dial tcp 127.0.0.1:2525: connect: connection refused",
				Advice: "Start the mail server, or correct notify.mail.host and notify.mail.port.",
			},
			{Name: "scrape", State: web.OK, Detail: "Requests leave directly."},
			{Name: "history", State: web.OK},
			{Name: "runs", State: web.OK},
			{Name: "egress", State: web.OK},
			{Name: "ship", State: web.OK},
			{Name: "readiness", State: web.Starting},
			{Name: "reports", State: web.OK},
			{Name: "scraping", State: web.OK},
		},
		Tor: web.Tor{
			State: web.Off, Reason: "No Tor answers on 127.0.0.1:9050; the dev profile allows direct requests.",
			Egress: "direct", RotateEvery: 25, Identities: 11, Requests: 264,
		},
		Exits: []web.Exit{
			{Address: "direct", Identity: "id-11", Requests: 14, Last: sampleNow.Add(-2 * time.Second), Current: true},
			{Address: "2001:db8:85a3:8d3:1319:8a2e:370:7348", Identity: "id-10", Requests: 25, Last: sampleNow.Add(-40 * time.Second)},
		},
		Agents: []web.Agent{
			{Name: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/154.0.0.0 Safari/537.36", Requests: 141, Last: sampleNow.Add(-2 * time.Second)},
			{Name: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Safari/605.1.15", Requests: 76, Last: sampleNow.Add(-3 * time.Second)},
			{Name: "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0", Requests: 47, Last: sampleNow.Add(-9 * time.Second)},
		},
		Log: web.Log{
			Path: "var/log/app.log", Sink: "http://127.0.0.1:40123/bulk", Written: 12846, Shipped: 12801, Waiting: 45, Quarantined: 1,
			LastShipped: sampleNow.Add(-time.Second),
			Received:    &web.Received{Batches: 61, Events: 12801, Repeats: 3},
		},
		Receivers: []web.Receiver{
			{Name: "ops-mail", Kind: "email", Target: "ops@example.com", Sent: 14, Waiting: 1, LastSent: sampleNow.Add(-50 * time.Second), LastError: "dial tcp 127.0.0.1:2525: connect: connection refused"},
			{Name: "ops-slack", Kind: "slack", Target: "#alerts", Sent: 15, Failed: 1, LastSent: sampleNow.Add(-12 * time.Second)},
		},
		Config: []web.Setting{
			{Key: "mode", Value: "dev", Origin: "env APP_MODE", Overrode: []string{"config/config.yaml:1:7", "default"}},
			{Key: "address", Value: "127.0.0.1:8080", Origin: "default"},
			{Key: "scrape.rotate_every", Value: "25", Origin: "config/config.yaml:12:17", Doc: "Requests per identity."},
			{Key: "scrape.user_agents_file", Value: "config/user-agents.txt", Origin: "default"},
			{Key: "notify.mail.password", Secret: true, Set: true, Value: "hunter2", Origin: "/run/secrets/notify.mail.password"},
			{Key: "notify.slack.webhook", Secret: true, Origin: "default"},
			{Key: "scrape.timeout", Value: "30s", Origin: "flag -scrape.timeout"},
		},
	}
	for i := range 8 {
		began := sampleNow.Add(-time.Duration(i)*20*time.Second - 3*time.Second)
		r := web.Run{
			ID: fmt.Sprint(24 - i), Trigger: "schedule", State: web.RunDone, Started: began, Finished: began.Add(1340 * time.Millisecond),
			PagesDone: 8, PagesTotal: 8, Bytes: 41_250, Items: 47, Changes: i % 4, Gone: i % 2,
		}
		switch i {
		case 0:
			r.State, r.Finished, r.PagesDone, r.Trigger = web.RunRunning, time.Time{}, 5, "request"
			r.Current = "http://127.0.0.1:41907/page/6"
		case 3:
			r.State, r.PagesDone, r.Failures, r.Bytes = web.RunFailed, 2, 6, 9_120
			r.Error = "Get \"http://127.0.0.1:41907/page/3\": context deadline exceeded after 30s; try a longer scrape.timeout"
		case 5:
			r.State, r.PagesDone = web.RunStopped, 4
		}
		p.Runs = append(p.Runs, r)
	}
	index := map[string]int{}
	for k := range 31 {
		at := sampleNow.Add(time.Duration(k-30) * 12 * time.Second)
		for _, it := range demo.At(time.Duration(k)*12*time.Second, 12*time.Second) {
			i, ok := index[it.Slug]
			if !ok {
				i = len(p.Items)
				index[it.Slug] = i
				p.Items = append(p.Items, web.Item{
					ID: it.Slug, Name: it.Name, Category: it.Category, Currency: "EUR", URL: "http://127.0.0.1:41907/item/" + it.Slug,
				})
			}
			p.Items[i].History = append(p.Items[i].History, web.Price{Time: at, Cents: it.Cents})
		}
	}
	for i := range p.Items {
		it := &p.Items[i]
		it.Gone = it.History[len(it.History)-1].Time.Before(sampleNow)
	}
	p.Items = append(p.Items,
		web.Item{ID: "no price", Name: "Item without a price", URL: "javascript:alert(1)"},
		web.Item{
			ID: "long", Name: strings.Repeat("Donaudampfschifffahrtsgesellschaft", 4), Category: "<b>x</b>", Currency: "CHF",
			History: []web.Price{{Time: sampleNow.Add(-time.Hour), Cents: 123_456_789}},
		})
	lines := []web.Line{
		{Level: "INFO", Message: "page fetched", Detail: `component="scrape" url="http://127.0.0.1:41907/page/5" status=200 bytes=5156 took="4.1ms"`},
		{Level: "WARN", Message: "request was slow", Detail: `component="scrape" took="2.1s"`},
		{Level: "ERROR", Message: "<script>alert(1)</script>", Detail: strings.Repeat("x", 300)},
	}
	for i, l := range slices.Repeat(lines, 10) {
		l.Time = sampleNow.Add(-time.Duration(i) * time.Second)
		p.Log.Received.Last = append(p.Log.Received.Last, l)
	}
	p.Caught = []web.Caught{
		{Kind: web.Slack, ID: "slack-2", Time: sampleNow.Add(-12 * time.Second), To: "#alerts", Subject: "Colombia Huila: €14.50 → €13.25", Text: "Colombia Huila fell by 8.6 %, from €14.50 to €13.25.\nhttp://127.0.0.1:41907/item/colombia-huila"},
		{Kind: web.Mail, ID: "mail-1", Time: sampleNow.Add(-50 * time.Second), From: "shopwatch@example.com", To: "ops@example.com", Subject: "3 prices changed", Text: "Colombia Huila    14.50 → 13.25\n<script>alert(document.cookie)</script>\n" + strings.Repeat("long ", 60)},
		{Kind: web.Mail, ID: "mail-2", Time: sampleNow.Add(-90 * time.Second), From: "a@example.com", To: strings.Repeat("someone@example.com, ", 12), Subject: strings.Repeat("Subject", 30), Text: ""},
	}
	for i := range 6 {
		p.Caught = append(p.Caught, web.Caught{Kind: web.Mail, ID: fmt.Sprintf("mail-%d", 10+i), Time: sampleNow.Add(-time.Hour), Subject: "Earlier", Text: "x"})
	}
	return p
}

// troubled is a page on a bad day: every state that a part can be in.
func troubled() web.Page {
	p := web.Page{
		Service: web.Service{Name: "shopwatch", Version: "v0.1.0-0.20260504120000-0123456789ab", Profile: "prod", Started: sampleNow.Add(-50 * time.Hour)},
		Now:     sampleNow,
		Tor: web.Tor{
			State: web.Failed, Required: true, Egress: "SOCKS 127.0.0.1:9050",
			Reason: "scrape: dial tor 127.0.0.1:9050: connect: connection refused; nothing leaves until it is back.",
		},
		Log: web.Log{
			Written: 9_999_999, Shipped: 1, Waiting: 9_999_900, Dropped: 98, Quarantined: 3, Retries: 1234,
			LastShipped: sampleNow.Add(-26 * time.Hour), LastError: "Post \"https://logs.example.com/bulk\": 503 Service Unavailable",
		},
		Receivers: []web.Receiver{{Name: "ops-mail", Kind: "email", Failed: 12, LastError: "535 5.7.8 authentication failed: check mail.password"}},
		Runs: []web.Run{
			{ID: "next", Trigger: "request", State: web.RunWaiting},
			{ID: "8", Trigger: "schedule", State: web.RunRunning, Started: sampleNow.Add(-time.Second), PagesDone: 3},
			{ID: "7", Trigger: "schedule", State: web.RunFailed, Started: sampleNow.Add(-time.Hour), Finished: sampleNow, Error: "tor is not available"},
			{ID: "6", Trigger: "schedule", State: web.RunStopped, Started: sampleNow.Add(-2 * time.Hour), Finished: sampleNow.Add(-time.Hour)},
		},
		Items: []web.Item{{ID: "1", Name: "Gone for good", Gone: true, Currency: "EUR", History: []web.Price{
			{Time: sampleNow.Add(-3 * time.Hour), Cents: 100}, {Time: sampleNow.Add(-2 * time.Hour), Cents: 200},
		}}},
		Exits: []web.Exit{{Address: "unknown", Last: sampleNow.Add(-time.Hour)}},
	}
	for _, s := range []web.State{web.Failed, web.Starting, web.Degraded, web.Off, web.OK, ""} {
		p.Checks = append(p.Checks, web.Check{Name: "state " + string(s), State: s, Detail: "What was found.", Advice: "What can be done about it."})
	}
	return p
}
