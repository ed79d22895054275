package webhook_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/webhook"
)

// pagerDuty is an event of the Events API v2. It takes summaries of 1,024
// characters, keys of 255 and events of 512 KB; Key is never longer.
const pagerDuty = `{
	"routing_key": {{json (secret "routing_key")}},
	"event_action": {{if .Resolved}}"resolve"{{else}}"trigger"{{end}},
	"dedup_key": {{json .Key}},
	"payload": {
		"summary": {{json (cut 1024 .Title)}},
		"source": {{json (or .Source "shop")}},
		"severity": {{json .Severity}},
		"timestamp": {{json .Time}},
		"custom_details": {"text": {{json (cutBytes 100000 .Body)}}}
	}
}`

// A message with a Key opens an incident, and its end resolves it.
func ExampleNew_pagerDuty() {
	service := startPagerDuty() // stands for https://events.pagerduty.com
	defer service.Close()

	pager, err := webhook.New(&webhook.Options{
		URL:    secret.New(service.URL + "/v2/enqueue"),
		Values: map[string]secret.Secret{"routing_key": secret.New(routingKey)},
		Body:   pagerDuty,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	down := notify.Message{Level: slog.LevelError, Key: "db1", Subject: "database is down"}
	if err := pager.Notify(ctx, down); err != nil {
		fmt.Println(err)
	}
	down.Resolved = true
	if err := pager.Notify(ctx, down); err != nil {
		fmt.Println(err)
	}
	for _, event := range service.events() {
		fmt.Println(event["event_action"], event["dedup_key"])
	}
	// Output:
	// trigger db1
	// resolve db1
}

// ntfy is a message published as JSON, to the server's address without the
// topic. A message above 4,096 bytes would become an attachment; priorities are
// 1 to 5.
const ntfy = `{
	"topic": "shop-alerts",
	"title": {{json (cutBytes 200 .Title)}},
	"message": {{json (cutBytes 4096 .Body)}},
	"priority": {{if .Resolved}}3{{else if eq .Severity "critical"}}5{{else if eq .Severity "error"}}4{{else}}3{{end}},
	"tags": [{{if .Resolved}}"white_check_mark"{{else}}"warning"{{end}}]
}`

func ExampleNew_ntfy() {
	service := startNtfy() // stands for https://ntfy.sh
	defer service.Close()

	phone, err := webhook.New(&webhook.Options{
		URL:     secret.New(service.URL),
		Headers: map[string]secret.Secret{"Authorization": secret.New("Bearer " + ntfyToken)},
		Body:    ntfy,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := phone.Send(context.Background(), "disk full", "93 % of /var"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(service.events()[0]["topic"], service.events()[0]["priority"])
	// Output: shop-alerts 4
}

// gotify is a message of Gotify, which wants a text and takes priorities from 0
// to 10.
const gotify = `{
	"title": {{json .Title}},
	"message": {{json .Body}},
	"priority": {{if .Resolved}}2{{else if eq .Severity "critical"}}10{{else if eq .Severity "error"}}8{{else}}5{{end}}
}`

func ExampleNew_gotify() {
	service := startGotify() // stands for https://gotify.example.com
	defer service.Close()

	phone, err := webhook.New(&webhook.Options{
		URL:     secret.New(service.URL + "/message"),
		Headers: map[string]secret.Secret{"X-Gotify-Key": secret.New(gotifyToken)},
		Body:    gotify,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := phone.Send(context.Background(), "disk full", ""); err != nil {
		fmt.Println(err)
	}
	fmt.Println(service.events()[0]["priority"])
	// Output: 8
}

// workflow are the variables of a workflow that begins with a webhook: texts,
// by the names that the workflow gives them.
const workflow = `{"title": {{json .Title}}, "details": {{json (cut 3000 .Body)}}}`

func ExampleNew_slackWorkflow() {
	service := startWorkflow() // stands for https://hooks.slack.com
	defer service.Close()

	start, err := webhook.New(&webhook.Options{
		URL:    secret.New(service.URL + "/triggers/T000TEST/123/workflowcanary"),
		Body:   workflow,
		Expect: `"ok":true`,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := start.Send(context.Background(), "disk full", "93 % of /var"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(service.events()[0]["details"])
	// Output: 93 % of /var
}

// The body of a service of your own: its fields are those of Data.
func ExampleData() {
	_ = webhook.Data{}.Severity // what {{.Severity}} writes

	own, err := webhook.New(&webhook.Options{
		URL:  secret.New("https://alerts.example.com/new"),
		Body: `{"text": {{json .Title}}, "level": {{json .Severity}}, "host": {{json (index .Fields "host")}}}`,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	body, err := own.Preview(notify.Message{Level: slog.LevelWarn, Subject: `disk "data" is full`, Attrs: []slog.Attr{slog.String("host", "db1")}})
	fmt.Println(strings.Contains(string(body), `disk \"data\" is full`), err)
	// Output: true <nil>
}
