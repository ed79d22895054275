package email_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
)

// A mechanism that is offered and cannot be completed gives way to the next one,
// and the no of a server that saw the password ends the login.
func TestNextMechanism(t *testing.T) {
	t.Parallel()
	const no, weak = "535 5.7.8 authentication failed", "504 5.5.4 not for this account"
	for _, tc := range []struct {
		name, offer string
		replies     map[string]string // by mechanism; those that are missing succeed
		want        string            // the mechanisms that were tried
		fails       bool
	}{
		{"the best", "AUTH plain login", nil, "PLAIN", false},
		{"offered and refused", "AUTH SCRAM-SHA-256 PLAIN LOGIN", map[string]string{"SCRAM-SHA-256": no}, "SCRAM-SHA-256 PLAIN", false},
		{"not for this account", "AUTH PLAIN LOGIN", map[string]string{"PLAIN": weak}, "PLAIN LOGIN", false},
		{"wrong password", "AUTH SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5", map[string]string{"SCRAM-SHA-1": no, "PLAIN": no}, "SCRAM-SHA-1 PLAIN", true},
		{"a challenge that is none", "AUTH SCRAM-SHA-256 PLAIN", map[string]string{"SCRAM-SHA-256": "334 !"}, "SCRAM-SHA-256 * PLAIN", false},
		{"not now", "AUTH PLAIN LOGIN", map[string]string{"PLAIN": "454 4.7.0 later"}, "PLAIN", true},
		{"the form of a draft", "AUTH=LOGIN PLAIN", nil, "PLAIN", false},
		{"both forms", "AUTH CRAM-MD5\r\n250-AUTH=LOGIN", nil, "LOGIN", false},
		{"in small letters", "auth login", nil, "LOGIN", false},
		{"nothing that is known", "AUTH GSSAPI XOAUTH2", nil, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			answers := 0
			s := &script{ehlo: []string{"script.test", tc.offer}}
			s.reply = func(line string) string {
				verb, rest, _ := strings.Cut(line, " ")
				name, _, _ := strings.Cut(rest, " ")
				switch {
				case verb == "*":
					return "501 5.7.0 given up"
				case verb == "AUTH" && tc.replies[name] != "":
					return tc.replies[name]
				case verb == "AUTH" && name == "LOGIN":
					answers = 2
					return "334 VXNlcm5hbWU6"
				case answers > 0:
					if answers--; answers > 0 {
						return "334 UGFzc3dvcmQ6"
					}
					return "235 2.7.0 welcome"
				case verb == "AUTH":
					return "235 2.7.0 welcome"
				}
				return ""
			}
			c := newClient(t, &email.Options{
				Host: "127.0.0.1", Port: s.start(t), TLS: email.None, From: "a@example.com", To: []string{"b@example.com"},
				Username: "shop", Password: secret.New(password),
			})
			err := c.Send(t.Context(), "s", "t")
			if (err != nil) != tc.fails {
				t.Errorf("error %v", err)
			}
			var tried []string
			for _, line := range s.lines() {
				if words := strings.Fields(line); words[0] == "AUTH" {
					tried = append(tried, words[1])
				} else if words[0] == "*" {
					tried = append(tried, "*")
				}
			}
			if got := strings.Join(tried, " "); got != tc.want {
				t.Errorf("tried %q, want %q", got, tc.want)
			}
		})
	}
}

// A token is asked for with each connection, and shown in no error.
func TestToken(t *testing.T) {
	t.Parallel()
	const token = "canary-token-1234"
	refuse := true
	s := &script{ehlo: []string{"script.test", "AUTH PLAIN XOAUTH2"}}
	s.reply = func(line string) string {
		want := "AUTH XOAUTH2 " + base64.StdEncoding.EncodeToString([]byte("user=shop@example.com\x01auth=Bearer "+token+"\x01\x01"))
		switch {
		case line == want && refuse:
			return "334 " + base64.StdEncoding.EncodeToString([]byte(`{"status":"400"}`))
		case line == "": // the client took note
			return "535 5.7.8 not accepted: " + token
		case line == want:
			return "235 2.7.0 welcome"
		}
		return ""
	}
	calls, fail := 0, error(nil)
	c := newClient(t, &email.Options{
		Host: "127.0.0.1", Port: s.start(t), TLS: email.None, From: "a@example.com", To: []string{"b@example.com"}, MaxIdle: -1,
		Username: "shop@example.com", Token: func(context.Context) (secret.Secret, error) { calls++; return secret.New(token), fail },
	})

	err := c.Send(t.Context(), "s", "t")
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Class != notify.ClassAuth || strings.Contains(err.Error(), token) {
		t.Errorf("refused: %v", err)
	}
	refuse = false
	if err := c.Send(t.Context(), "s", "t"); err != nil || calls != 2 {
		t.Errorf("accepted: %v after %d calls", err, calls)
	}
	fail = errors.New("no answer from https://user:canary@login.example.com/token")
	err = c.Send(t.Context(), "s", "t")
	if err == nil || !strings.Contains(err.Error(), "login.example.com") || strings.Contains(err.Error(), "canary") {
		t.Errorf("no token: %v", err)
	}
}

// What stands behind the answer to STARTTLS was not encrypted: nobody reads it.
func TestTextBehindSTARTTLS(t *testing.T) {
	t.Parallel()
	s := &script{ehlo: []string{"script.test", "STARTTLS"}}
	s.reply = func(line string) string {
		if line == "STARTTLS" {
			return "220 go ahead\r\n250-injected\r\n250 AUTH PLAIN"
		}
		return ""
	}
	c := newClient(t, &email.Options{Host: "127.0.0.1", Port: s.start(t), From: "a@example.com", To: []string{"b@example.com"}})
	errs := notify.Errors(c.Send(t.Context(), "s", "t"))
	if len(errs) != 1 || errs[0].Class != notify.ClassTLS {
		t.Errorf("got %v", errs)
	}
}
