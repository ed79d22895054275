//go:build docker

package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// TestDockerVault rotates the secrets of mail and Slack in a vault: both
// receivers go on with the new ones, and the service is never started anew.
func TestDockerVault(t *testing.T) {
	s := newStack(t, "vault", "compose.test.yaml")
	const token = "root-token-7f3a"
	s.secret("vault_token", token)
	s.env = append(s.env, "VAULT_DEV_TOKEN="+token)
	s.compose("up", "-d", "--no-build", "vault", "postfix", "receiver")
	waitHealthy(t, s.id("postfix"), patience())

	address := s.address("vault", "8200")
	put := func(password, webhook string) error {
		body, err := json.Marshal(map[string]any{"data": map[string]string{"mail_password": password, "slack_webhook": "http://receiver:8080" + webhook}})
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/v1/secret/data/service", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("X-Vault-Token", token)
		res, err := s.client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
			return fmt.Errorf("vault: %s: %s", res.Status, text)
		}
		return nil
	}
	testenv.EventuallyWithin(t, patience(), func() error { return put("first-password-7f3a", "/services/T0/B0/first") })
	// Without Tor every run fails, and whoever is to be told hears of it.
	s.compose("up", "-d", "--no-build", "--no-deps", "service-vault")
	id := s.id("service-vault")
	waitHealthy(t, id, patience())
	arrived := func(mails int, webhook string) {
		t.Helper()
		testenv.EventuallyWithin(t, patience(), func() error {
			text, err := s.mails()
			if err != nil {
				return err
			}
			if n := strings.Count(text, "\nSubject:"); n < mails {
				return fmt.Errorf("%d mails, want %d", n, mails)
			}
			slack, err := s.received("slack")
			if err != nil {
				return err
			}
			if !strings.Contains(slack, webhook) {
				return fmt.Errorf("nothing came to %s", webhook)
			}
			return nil
		})
	}
	arrived(1, "/services/T0/B0/first")
	started := inspect(t, id)

	// The vault first, then the server: in between mails wait in the outbox.
	if err := put("second-password-9c1e", "/services/T0/B0/second"); err != nil {
		t.Fatal(err)
	}
	change := testenv.Require(t, "docker").Command("exec", "-i", s.id("postfix"), "saslpasswd2", "-p", "-u", "mail.test", "watch")
	change.Stdin = strings.NewReader("second-password-9c1e")
	if _, err := output(change); err != nil {
		t.Fatal(err)
	}
	testenv.EventuallyWithin(t, patience(), func() error {
		logs, err := output(testenv.Require(t, "docker").Command("logs", id))
		if err != nil {
			return err
		}
		for _, receiver := range []string{"mail", "slack"} {
			if !strings.Contains(logs, `"msg":"receiver has new settings"`) || !strings.Contains(logs, `"receiver":"`+receiver+`"}`) {
				return fmt.Errorf("%s has no new settings", receiver)
			}
		}
		return nil
	})
	text, err := s.mails()
	if err != nil {
		t.Fatal(err)
	}
	before := strings.Count(text, "\nSubject:")
	arrived(before+2, "/services/T0/B0/second")

	now := inspect(t, id)
	if now.RestartCount != 0 || !now.State.StartedAt.Equal(started.State.StartedAt) {
		t.Errorf("the service was started anew: %d times, at %v", now.RestartCount, now.State.StartedAt)
	}
	// The old password opens nothing any more, so it was the new one.
	check := testenv.Require(t, "docker").Command("exec", s.id("postfix"), "bash", "-c", "sasldblistusers2 && ls /mail/inbox/new | wc -l")
	if out, err := output(check); err != nil {
		t.Error(err)
	} else {
		t.Log(out)
	}
	logs, err := testenv.Require(t, "docker").Command("logs", id).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"first-password-7f3a", "second-password-9c1e", "B0/first", "B0/second", token} {
		if bytes.Contains(logs, []byte(secret)) {
			t.Errorf("%q stands in the log", secret)
		}
	}
}
