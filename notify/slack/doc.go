// Package slack posts messages to Slack, through an incoming webhook or as a
// bot.
//
//	ops, err := slack.NewWebhook(address, nil) // a secret.Secret
//	…
//	err = ops.Send(ctx, "price changed", "Tea costs 4.20 now.")
//
// What Slack shows is what was said: text goes as plain text, in which no sign
// is formatting, a mention, a link in disguise or an emoji. [Options].Mention is
// the only way to mention. Every limit of Slack is kept, counted as Slack
// counts; what is cut is marked. When the blocks are refused all the same, the
// text goes out alone.
//
// A message counts as sent when the other side said so, and not on a bare 200.
// Redirects are not followed. Calls keep to the documented rate of one per
// second and channel; after a 429 the error carries the wait asked for, which a
// notify.Hub keeps.
//
// Mattermost, Rocket.Chat and Zulip take messages of the same shape: a [Webhook]
// gives them the whole text, as they ignore blocks. What starts a workflow is
// none: notify/webhook sends its variables.
//
// The address of a webhook and the token of a bot are in no error, log line or
// printed value. The package uses net/http alone.
package slack
