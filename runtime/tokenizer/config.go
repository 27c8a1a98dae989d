package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// configJSON is what is read of tokenizer_config.json.
type configJSON struct {
	BOSToken     *specialToken `json:"bos_token"`
	EOSToken     *specialToken `json:"eos_token"`
	PadToken     *specialToken `json:"pad_token"`
	UnkToken     *specialToken `json:"unk_token"`
	SepToken     *specialToken `json:"sep_token"`
	ClsToken     *specialToken `json:"cls_token"`
	MaskToken    *specialToken `json:"mask_token"`
	AddBOSToken  *bool         `json:"add_bos_token"`
	ChatTemplate chatTemplate  `json:"chat_template"`
}

// specialToken is "</s>" or {"content": "</s>", ...}.
type specialToken string

func (s *specialToken) UnmarshalJSON(b []byte) error {
	var o struct {
		Content *string `json:"content"`
	}
	var plain string
	switch {
	case json.Unmarshal(b, &plain) == nil:
		*s = specialToken(plain)
	case json.Unmarshal(b, &o) == nil && o.Content != nil:
		*s = specialToken(*o.Content)
	default:
		return fmt.Errorf("%s is neither a text nor an object with content", b)
	}
	return nil
}

// chatTemplate is a Jinja template, or a list of named ones, of which "default" counts.
type chatTemplate string

func (c *chatTemplate) UnmarshalJSON(b []byte) error {
	var plain string
	if json.Unmarshal(b, &plain) == nil { // null too
		*c = chatTemplate(plain)
		return nil
	}
	var named []struct{ Name, Template string }
	if json.Unmarshal(b, &named) != nil {
		return fmt.Errorf("chat_template is neither a text nor a list of named ones")
	}
	for _, t := range named {
		if t.Name == "default" {
			*c = chatTemplate(t.Template)
		}
	}
	return nil
}

func (t *Tokenizer) setConfig(f files) error {
	t.chatTemplate = string(f.template)
	if f.config == nil {
		return nil
	}
	var c configJSON
	if err := json.Unmarshal(f.config, &c); err != nil {
		return jsonError(configFile, err)
	}
	t.named = make(map[string]string)
	for name, token := range map[string]*specialToken{
		"bos_token": c.BOSToken, "eos_token": c.EOSToken, "pad_token": c.PadToken, "unk_token": c.UnkToken,
		"sep_token": c.SepToken, "cls_token": c.ClsToken, "mask_token": c.MaskToken,
	} {
		if token != nil {
			t.named[name] = string(*token)
		}
	}
	for _, s := range []struct {
		field string
		token *specialToken
		id    *tokenID
	}{
		{"eos_token", c.EOSToken, &t.eos},
		{"pad_token", c.PadToken, &t.pad},
	} {
		if s.token == nil {
			continue
		}
		if s.id.id, s.id.ok = t.ID(string(*s.token)); !s.id.ok {
			return fieldError(configFile, s.field, "%q is not in %s", *s.token, vocabularyFile)
		}
	}
	if c.AddBOSToken != nil { // it decides, as it does in transformers, whatever the post-processor says
		t.bos = tokenID{}
		if *c.AddBOSToken {
			if c.BOSToken == nil {
				return fieldError(configFile, "bos_token", "is missing, and add_bos_token is true")
			}
			if t.bos.id, t.bos.ok = t.ID(string(*c.BOSToken)); !t.bos.ok {
				return fieldError(configFile, "bos_token", "%q is not in %s", *c.BOSToken, vocabularyFile)
			}
		}
	}
	if f.template == nil {
		t.chatTemplate = string(c.ChatTemplate)
	}
	return nil
}

// WithChatTemplate returns the tokenizer with another chat template, in Jinja, which Save then
// writes into tokenizer_config.json.
func (t *Tokenizer) WithChatTemplate(jinja string) (*Tokenizer, error) {
	config := make(map[string]any)
	if t.files.config != nil {
		d := json.NewDecoder(bytes.NewReader(t.files.config))
		d.UseNumber() // model_max_length may be 1e30
		if err := d.Decode(&config); err != nil {
			return nil, jsonError(configFile, err)
		}
	}
	config["chat_template"] = jinja
	b, err := marshal(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	return parse(files{vocabulary: t.files.vocabulary, config: b, model: t.files.model})
}

// marshal writes JSON for people: indented, with <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
