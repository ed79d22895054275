package settings_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Not parallel: the environment is the process's.
func TestReferencesToVault(t *testing.T) {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != "t0ken" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{
			"data": map[string]string{"mail_password": "hunter2"}, "metadata": map[string]any{"version": 1, "created_time": "2026-01-01T00:00:00Z"},
		}})
	}))
	defer vault.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("t0ken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SVC_MAIL_USERNAME", "watch")
	t.Setenv("SVC_MAIL_PASSWORD", "ref+vault://secret/data/service#mail_password")
	if _, err := load(t); err == nil || !strings.Contains(err.Error(), "vault") {
		t.Errorf("without VAULT_ADDR: %v", err)
	}
	t.Setenv("VAULT_ADDR", vault.URL)
	if _, err := load(t); err == nil || !strings.Contains(err.Error(), "VAULT_TOKEN_FILE") {
		t.Errorf("without a way to log in: %v", err)
	}
	t.Setenv("VAULT_TOKEN_FILE", token)
	store, err := load(t)
	if err != nil {
		t.Fatal(err)
	}
	if got := store.Get().Mail.Password.Reveal(); got != "hunter2" {
		t.Errorf("mail.password = %q", got)
	}
	t.Setenv("VAULT_ROLE_ID", "role")
	t.Setenv("VAULT_SECRET_ID_FILE", filepath.Join(t.TempDir(), "none"))
	if _, err := load(t); err == nil || !strings.Contains(err.Error(), "VAULT_SECRET_ID_FILE") {
		t.Errorf("with a file that is missing: %v", err)
	}
}
