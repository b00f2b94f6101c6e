//! `slugify`: names out of any text (github.com/gosimple/slug `Make` in English, which asks gosimple/unidecode for other letters).

use super::eval::Fault;

/// Latin letters with what stands for them; all others are left to a table that is not here.
const LATIN: &[(&str, &str)] = &[
    ("àáâãäåāăąÀÁÂÃÄÅĀĂĄ", "a"),
    ("æÆ", "ae"),
    ("çćĉċčÇĆĈĊČ", "c"),
    ("ďđðĎĐÐ", "d"),
    ("èéêëēĕėęěÈÉÊËĒĔĖĘĚ", "e"),
    ("ĝğġģĜĞĠĢ", "g"),
    ("ĥħĤĦ", "h"),
    ("ìíîïĩīĭįıÌÍÎÏĨĪĬĮİ", "i"),
    ("ĵĴ", "j"),
    ("ķĶ", "k"),
    ("ĺļľłĹĻĽŁ", "l"),
    ("ñńņňÑŃŅŇ", "n"),
    ("òóôõöøōŏőÒÓÔÕÖØŌŎŐ", "o"),
    ("œŒ", "oe"),
    ("ŕŗřŔŖŘ", "r"),
    ("śŝşšŚŜŞŠ", "s"),
    ("ß", "ss"),
    ("ţťŧŢŤŦ", "t"),
    ("þÞ", "th"),
    ("ùúûüũūŭůűųÙÚÛÜŨŪŬŮŰŲ", "u"),
    ("ŵŴ", "w"),
    ("ýÿŷÝŸŶ", "y"),
    ("źżžŹŻŽ", "z"),
    ("&", "and"),
    ("@", "at"),
    ("\"'’", ""),
    ("‒–—―", "-"),
];

/// At most `most` characters: cut before a whole word where `words` says so, else anywhere.
pub(super) fn slug(text: &str, most: usize, words: bool) -> Result<String, Fault> {
    let mut plain = String::new();
    for c in text.trim().chars() {
        match LATIN.iter().find(|(letters, _)| letters.contains(c)) {
            Some((_, with)) => plain.push_str(with),
            None if c.is_ascii() => plain.push(c.to_ascii_lowercase()),
            None => return Err(Fault::Function(format!("slugify of `{c}`"))),
        }
    }
    if !words {
        plain.truncate(most);
    }
    let mut out = String::new();
    for c in plain.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_matches(['-', '_']);
    if out.len() <= most {
        return Ok(out.to_owned());
    }
    let end = out[..=most].rfind('-').unwrap_or(most);
    Ok(out[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_ends_with_a_whole_word() {
        let slug = |text: &str| slug(text, 20, true).unwrap_or_default();
        assert_eq!(slug(" Team_A & Ærø's  B+"), "team_a-and-aeros-b");
        assert_eq!(slug("feature-branch-with-a-long-name"), "feature-branch-with");
        assert_eq!(slug("twenty-characters-ab-and-more"), "twenty-characters-ab");
        assert_eq!(slug("onewordthatislongerthanthat"), "onewordthatislongert");
        assert_eq!(super::slug("feature-branch-with-a-long", 20, false), Ok("feature-branch-with".to_owned()));
        assert_eq!(super::slug("日本", 20, true), Err(Fault::Function("slugify of `日`".to_owned())));
    }
}
