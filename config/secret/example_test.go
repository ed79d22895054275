package secret_test

import (
	"encoding/json"
	"fmt"

	"github.com/svcblocks/svcblocks/config/secret"
)

func ExampleSecret() {
	token := secret.New("s3cr3t")
	data, _ := json.Marshal(map[string]any{"token": token})
	fmt.Println(token, string(data), fmt.Errorf("login with %q failed", token))
	fmt.Println(len(token.Reveal()))
	// Output:
	// [redacted] {"token":"[redacted]"} login with [redacted] failed
	// 6
}
