package demo

// ParseMail is the parser behind the mail catcher, for the fuzz test.
var ParseMail = parseMail

// SlackWord returns what the Slack receiver says to a payload, and the text
// that it would keep.
func SlackWord(p *payload) (word, title, text string) {
	if word = p.check(); word != "" {
		return word, "", ""
	}
	title, text = p.flatten()
	return "ok", title, text
}

// SlackPayload is what a webhook takes.
type SlackPayload = payload
