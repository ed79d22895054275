// Package webhook sends messages to any service that takes JSON by HTTP: an
// address, which may be a secret, and a template for the body.
//
//	pager, err := webhook.New(&webhook.Options{
//		URL:    secret.New("https://events.pagerduty.com/v2/enqueue"),
//		Values: map[string]secret.Secret{"routing_key": key},
//		Body: `{
//			"routing_key": {{json (secret "routing_key")}},
//			"event_action": {{if .Resolved}}"resolve"{{else}}"trigger"{{end}},
//			"dedup_key": {{json .Key}},
//			"payload": {"summary": {{json (cut 1024 .Title)}}, "source": {{json .Source}}, "severity": {{json .Severity}}}
//		}`,
//	})
//
// The examples have the bodies for PagerDuty, ntfy, Gotify and a workflow of
// Slack, within the limits that those services document.
//
// The body is a [text/template] over [Data]. Its functions are json, which makes
// JSON of a value, cut and cutBytes, which shorten a text to a number of
// characters or bytes, and secret, which gives one of Values. New tries the
// template on messages made to break it: a text that is not written by json
// would end up as part of the JSON, and is refused there.
//
// A message counts as sent when the answer is one of the 200s, and holds
// [Options].Expect. Redirects are not followed. A 429 pauses for as long as
// Retry-After says, 5xx and 408 are tried again, 401 and 403 are about the
// credentials, and what is left is about the message.
//
// The address, the values and the headers are in no error, log line or printed
// value. The package uses net/http and text/template, which adds half a megabyte.
package webhook
