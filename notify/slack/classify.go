package slack

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/internal/post"
)

// statusError makes an error of an HTTP status that is not of the 200s, or nil.
// Slack's code says more than the status.
func statusError(p *post.Poster, op string, a post.Answer, now time.Time) *notify.Error {
	e := p.StatusError(op, a, now)
	if e == nil {
		return nil
	}
	if e.Enhanced = errorCode(a.Body); e.Enhanced == "" {
		e.Enhanced = readAnswer(a.Body).code()
	}

	if e.Class == notify.ClassAuth && a.Status == http.StatusForbidden && e.Enhanced != "" {
		e.Class = notify.ClassRejected // of an archived channel, for instance
	}
	if a.Status < 500 && a.Status >= 400 {
		e.Class = classOf(e.Enhanced, e.Class)
	}
	if e.Class == notify.ClassThrottled {
		post.Throttle(e)
	}
	return e
}

// classOf says what one of Slack's error codes means.
func classOf(code string, other notify.Class) notify.Class {
	switch code {
	case "ratelimited", "rate_limited", "message_limit_exceeded":
		return notify.ClassThrottled
	case "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org", "rollup_error", "accesslimited":
		return notify.ClassServer
	case "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission",
		"missing_scope", "not_allowed_token_type", "invalid_token", "org_login_required", "ekm_access_denied":
		return notify.ClassAuth
	default:
		return other
	}
}

// answer is what the Web API, and those who answer in JSON in place of "ok", say.
type answer struct {
	OK      bool            `json:"ok"`      // Slack's Web API, Zulip
	Success bool            `json:"success"` // Rocket.Chat
	Result  string          `json:"result"`  // Zulip
	Error   json.RawMessage `json:"error"`
	Message string          `json:"message"` // Mattermost
	Msg     string          `json:"msg"`     // Zulip
	Channel string          `json:"channel"`
	TS      string          `json:"ts"`
}

// readAnswer reads a JSON object; anything else gives a zero answer.
func readAnswer(body string) (a answer) {
	if !strings.HasPrefix(strings.TrimSpace(body), "{") || json.Unmarshal([]byte(body), &a) != nil {
		return answer{}
	}
	return a
}

// taken reports whether the message was taken.
func (a answer) taken() bool { return a.OK || a.Success || a.Result == "success" }

// code returns the code of an error, or "".
func (a answer) code() string {
	var text string
	if json.Unmarshal(a.Error, &text) != nil {
		return ""
	}
	return errorCode(text)
}

// errorCode returns body if it looks like one of Slack's error codes.
func errorCode(body string) string {
	body = strings.TrimSpace(body)
	if body == "" || len(body) > 64 {
		return ""
	}
	for _, c := range []byte(body) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return ""
		}
	}
	return body
}
