package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/config/vault"
)

// standIn answers as a KV version 2 engine at secret/ does.
func standIn() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/secret/data/mail" {
			fmt.Fprint(w, `{"data": {"data": {"password": "s3cr3t"}, "metadata": {"created_time": "2026-01-01T00:00:00Z"}}}`)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors": []}`)
	}))
}

func ExampleResolver() {
	server := standIn()
	defer server.Close()
	r, err := vault.New(&vault.Options{Address: server.URL, Token: secret.New("hvs.token")})
	if err != nil {
		fmt.Println(err)
		return
	}
	password, lease, err := r.Resolve(context.Background(), "secret/data/mail", "password")
	fmt.Println(len(password), lease, err)
	// Output: 6 0s <nil>
}

func ExampleOptions() {
	_, err := vault.New(&vault.Options{Address: "vault.internal"})
	fmt.Println(err)
	// Output:
	// vault: new: Address: scheme "" is neither http nor https
	// vault: new: 0 ways to log in are set, want exactly one of Token, TokenFile, AppRole.RoleID and Kubernetes.Role
}

func ExampleAppRole() {
	opts := vault.Options{
		Address: "https://vault.internal:8200",
		AppRole: vault.AppRole{RoleID: "service", SecretID: secret.New("s3cr3t")},
		Retry:   vault.Retry{Attempts: 3},
	}
	_, err := vault.New(&opts)
	fmt.Println(opts.AppRole, err)
	// Output: { service [redacted]} <nil>
}

func ExampleKubernetes() {
	_, err := vault.New(&vault.Options{
		Address:    "https://vault.internal:8200",
		Kubernetes: vault.Kubernetes{Role: "service"},
	})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleError() {
	server := standIn()
	defer server.Close()
	r, _ := vault.New(&vault.Options{Address: server.URL, Token: secret.New("hvs.token")})
	_, _, err := r.Resolve(context.Background(), "secret/data/nothing", "x")
	fmt.Println(err)
	// Output: vault: read secret/data/nothing: status 404: not found
}
