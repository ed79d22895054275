// Package slack posts messages to Slack, through an incoming webhook or as a
// bot.
//
//	ops, err := slack.NewWebhook(address, nil) // a secret.Secret
//	…
//	err = ops.Send(ctx, "price changed", "Tea costs 4.20 now.")
//
// Text is shown as it is: nothing in a message can mention anybody or disguise
// a link. [Options].Mention is the only way to mention. Every limit of Slack is
// kept, counted as Slack counts; what is cut is marked.
//
// A message counts as sent when Slack answered "ok" to it, and not on a bare
// 200. Redirects are not followed. Calls keep to the documented rate of one per
// second and channel; after a 429 the error carries the wait asked for, which a
// notify.Hub keeps.
//
// The address of a webhook and the token of a bot are in no error, log line or
// printed value. The package uses net/http alone.
package slack
