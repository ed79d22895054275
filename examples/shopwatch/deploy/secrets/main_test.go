package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSecrets(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := os.Mkdir(dir, 0o755); err != nil { // as git, or an editor, would
		t.Fatal(err)
	}
	if err := run(dir, []string{"watch.example"}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	before := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 7 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o444 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		before[e.Name()] = string(text)
	}
	if len(before["tor_password"]) < 20 || before["tor_password"] == before["vault_token"] || before["mail_password"] != "" {
		t.Error("the passwords are not random, or one is made up")
	}
	pair, err := tls.X509KeyPair([]byte(before["tls_certificate"]), []byte(before["tls_key"]))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "watch.example"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What is there stays, and what was removed is made anew.
	if err := os.Remove(filepath.Join(dir, "tor_password")); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, nil); err != nil {
		t.Fatal(err)
	}
	for name, old := range before {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if same := string(text) == old; same == (name == "tor_password") {
			t.Errorf("%s: as before: %v", name, same)
		}
	}
}
